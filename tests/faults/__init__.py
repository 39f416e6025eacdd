"""What happens when things break: processes die, disks fill, files are locked, clocks jump."""
