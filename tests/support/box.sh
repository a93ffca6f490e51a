#!/bin/sh
# The inside of a box (box.py), as PID 1 of its namespaces: makes a throw-away view of a file system and
# becomes its systemd.
#   box.sh DIRECTORY FILES OPT LOWER
# DIRECTORY is empty; LOWER is viewed; FILES is copied over the view; OPT is its /opt.
set -eu
umask 022
directory=$1 files=$2 opt=$3 lower=$4

mount -t tmpfs -o mode=755,size=1g tmpfs "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$directory/upper,workdir=$directory/work" "$directory/root"
cd "$directory/root"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup # alone, and rooted at our own: systemd's unified mode
mount -t tmpfs -o mode=755,size=128m tmpfs run
mount -t tmpfs -o mode=1777,size=256m tmpfs tmp
mount --bind "$opt" opt
mount -o remount,bind,ro opt

# Own nodes, not the machine's: what systemd does to their modes must not reach these.
mount -t tmpfs -o mode=755,size=64k tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 dev/tty c 5 0
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

# The machine's own services stay off; FILES has the target to boot.
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires etc/systemd/system/openfit-* \
  etc/openfit-tokend var/lib/openfit-tokend var/log/journal
: >etc/fstab
for unit in dev-hugepages.mount e2scrub_reap.service getty@.service \
  proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-config.mount \
  sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service \
  systemd-firstboot.service systemd-modules-load.service systemd-networkd.service \
  systemd-random-seed.service systemd-remount-fs.service systemd-resolved.service \
  systemd-sysctl.service systemd-timesyncd.service systemd-udevd.service \
  systemd-update-utmp.service tmp.mount; do
  ln -sfn /dev/null "etc/systemd/system/$unit"
done
cp -R --remove-destination "$files/." .
[ -s etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >etc/machine-id

mkdir .old
pivot_root . .old
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 container=box sh -c '
  umount -l /.old
  rmdir /.old
  mount --make-rshared / # as on a real machine: without it LoadCredential= leaves an empty directory
  exec /lib/systemd/systemd --system --unit=box.target --log-target=console --log-level=warning \
    --show-status=no' </dev/null
