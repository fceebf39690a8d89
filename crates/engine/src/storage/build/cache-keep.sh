# Keeps the packages of this build for the next one. $1: the new root; $COWL_CACHE: packages.
set -eu
for deb in "$1"/var/cache/apt/archives/*.deb; do
    name=${deb##*/}
    # One that is there but was not taken may be damaged.
    if [ -f "$deb" ] && ! cmp -s -- "$deb" "$COWL_CACHE/$name"; then
        cp -- "$deb" "$COWL_CACHE/.$name.$$"
        mv -- "$COWL_CACHE/.$name.$$" "$COWL_CACHE/$name"
    fi
done
