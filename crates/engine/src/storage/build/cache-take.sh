# Offers packages of earlier builds to apt. $1: the new root; $COWL_CACHE: packages.
# apt trusts what lies in its archive directory, so a package goes there only if name and hash are
# those of a package index whose signature apt has verified just now.
set -eu
# The new root's apt, never the host's.
export APT_CONFIG="${MMDEBSTRAP_APT_CONFIG:?}"
apt-get update --error-on=any
for index in "$1"/var/lib/apt/lists/*_Packages*; do
    /usr/lib/apt/apt-helper cat-file "$index"
done | awk '
    function escape(s) { gsub(/_/, "%5f", s); gsub(/:/, "%3a", s); return s }
    /^Package: / { package = $2 }
    /^Version: / { version = $2 }
    /^Architecture: / { arch = $2 }
    /^SHA256: / { hash = $2 }
    /^$/ { print hash "  " escape(package) "_" escape(version) "_" escape(arch) ".deb"; hash = "none" }
' > "$1/tmp/cowl-hashes"
mkdir -p "$1/var/cache/apt/archives"
cd "$COWL_CACHE"
taken=0
for deb in *.deb; do
    [ -f "$deb" ] || continue
    # The copy is what is checked and what is used.
    cp -- "$deb" "$1/tmp/cowl-candidate.deb"
    hash=$(sha256sum < "$1/tmp/cowl-candidate.deb")
    if grep -qxF -- "${hash%% *}  $deb" "$1/tmp/cowl-hashes"; then
        mv -- "$1/tmp/cowl-candidate.deb" "$1/var/cache/apt/archives/$deb"
        taken=$((taken + 1))
    fi
done
rm -f "$1/tmp/cowl-hashes" "$1/tmp/cowl-candidate.deb"
echo "cowl: $taken packages taken from $COWL_CACHE"
