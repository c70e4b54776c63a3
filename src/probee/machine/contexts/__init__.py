"""What programs get as their context, for every type of program."""
