#!/bin/sh
# The guest's first process: mounts the host's files below an overlay, makes that the root, and hands over to run.sh.
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module"; done < /modules/order

plan9() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"; }
plan9 host /host ro,cache=loose,access=any
mount -t tmpfs -o size=75% writes /root
mkdir /root/upper /root/work /root/all
mount -t overlay -o lowerdir=/host,upperdir=/root/upper,workdir=/root/work root /root/all
cd /root/all || poweroff -f

mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
for place in dev/shm run; do mount -t tmpfs -o mode=1777 tmpfs "$place"; done
mount -t tracefs tracefs sys/kernel/tracing
mount -t debugfs debugfs sys/kernel/debug
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t securityfs securityfs sys/kernel/security
# The host's /tmp is below, for repositories that are there.
mkdir -m 1777 run/tmp
export TMPDIR=/run/tmp

mkdir -p run/probee-matrix
plan9 share run/probee-matrix rw,cache=none
. run/probee-matrix/place.sh
mkdir /root/upper-copy /root/work-copy /root/copy
mount -t overlay -o "lowerdir=/host$MATRIX_COPY,upperdir=/root/upper-copy,workdir=/root/work-copy" copy /root/copy
if [ -d ".$MATRIX_REPOSITORY/.venv" ]; then mount -o bind ".$MATRIX_REPOSITORY/.venv" /root/copy/.venv; fi
mount -o rbind /root/copy ".$MATRIX_REPOSITORY"
mkdir -p lib/modules boot
mount -o bind ".$MATRIX_KERNEL/lib/modules" lib/modules
mount -o bind ".$MATRIX_KERNEL/boot" boot

# The kernel runs modprobe in the root of process 1: a static one, whatever the host has.
mkdir run/busybox
mount -t tmpfs tmpfs run/busybox
cp /bin/busybox run/busybox/busybox
cp /bin/busybox run/busybox/modprobe
cp /run.sh run/busybox/run.sh
echo /run/busybox/modprobe > /proc/sys/kernel/modprobe
[ -e sbin/modprobe ] || cp run/busybox/modprobe sbin/modprobe
/bin/busybox hostname probee-matrix
/bin/busybox ip link set lo up
: > run/probee-matrix/booted
# And no chroot, where there are no user namespaces.
exec switch_root . /run/busybox/busybox sh /run/busybox/run.sh "$MATRIX_INPUT"
