"""What a process runs and reads from: the files of its program and first descriptor, names and places."""

import probee as bp
from probee import Char, u32, u64


class Files(bp.Struct):
    inode: u64
    size: u64
    first_inode: u64
    first_magic: u64
    device: u32
    mode: u32
    folder_inode: u32
    first_flags: u32
    limit: u32
    name: Char[32]
    folder: Char[32]


seen = bp.Array[Files](1)


@bp.raw_tracepoint("sys_enter")
def on_enter():
    f = seen.get(0)
    if f is None:
        return
    task = bp.current_task()
    exe = task.mm.exe_file
    inode = exe.f_inode
    f.inode = inode.i_ino
    f.size = inode.i_size
    f.mode = inode.i_mode
    f.device = inode.i_sb.s_dev
    dentry = exe.f_path.dentry
    f.name = dentry.d_name.name
    f.folder = dentry.d_parent.d_name.name
    f.folder_inode = dentry.d_parent.d_inode.i_ino
    table = task.files.fdt
    f.limit = table.max_fds
    first = table.fd[0]
    f.first_flags = first.f_flags
    f.first_inode = first.f_inode.i_ino
    f.first_magic = first.f_inode.i_sb.s_magic
