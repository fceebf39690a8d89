# Keeps the packages of this build for the next one. $1: the new root; $COWL_CACHE: packages.
set -eu
for deb in "$1"/var/cache/apt/archives/*.deb; do
    name=${deb##*/}
    if [ -f "$deb" ] && [ ! -f "$COWL_CACHE/$name" ]; then
        cp -- "$deb" "$COWL_CACHE/.$name.$$"
        mv -- "$COWL_CACHE/.$name.$$" "$COWL_CACHE/$name"
    fi
done
