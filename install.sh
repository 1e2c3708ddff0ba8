#!/bin/sh
# Installs gamekeeper for C and C++: headers, shared and static library, and what CMake and pkg-config look for.
# What is installed can be moved as a whole: its files find each other from where they lie.
set -eu

usage() {
  cat <<'END'
Usage: ./install.sh [--prefix DIR] [--libdir DIR] [--includedir DIR] [--from DIR]

  --prefix DIR      where to install; default /usr/local
  --libdir DIR      the libraries' directory, inside the prefix; default lib
  --includedir DIR  the headers' directory, inside the prefix; default include
  --from DIR        take the libraries that cargo has built into DIR, instead of building them

The variable DESTDIR stands before every path that is written, and in no file. CARGO names another cargo.
END
}

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

prefix=/usr/local libdir=lib includedir=include from=
while [ $# -gt 0 ]; do
  case "$1" in
    --prefix=* | --libdir=* | --includedir=* | --from=*) option=${1%%=*} value=${1#*=} ;;
    --prefix | --libdir | --includedir | --from)
      [ $# -ge 2 ] || fail "$1 wants a directory"
      option=$1 value=$2
      shift
      ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; fail "unknown argument: $1" ;;
  esac
  shift
  [ -n "$value" ] || fail "$option wants a directory"
  case "$option" in
    --prefix) prefix=$value ;;
    --libdir) libdir=$value ;;
    --includedir) includedir=$value ;;
    --from) from=$value ;;
  esac
done

[ "$(uname -s)" = Linux ] || fail "this script knows Linux only; elsewhere copy include/ and what cargo build --release makes"

# Relative to the prefix, or else nothing could find anything after a move.
inside() { # option, directory
  case "$2" in
    "${prefix%/}"/*) set -- "$1" "${2#"${prefix%/}"/}" ;;
    /*) fail "$1 $2 lies outside the prefix $prefix" ;;
  esac
  case "/$2/" in
    */../* | */./* | *//*) fail "$1 $2 must be a plain path inside the prefix" ;;
  esac
  # It stands in files of CMake and pkg-config, where other characters have meanings. The prefix stands in none.
  case "$2" in
    *[!A-Za-z0-9._+,\&=~/-]*) fail "$1 $2 has characters other than letters, digits and ._+,&=~/-" ;;
  esac
  printf '%s\n' "$2"
}
case "$prefix" in
  /*) ;;
  *) prefix=$PWD/$prefix ;;
esac
libdir=$(inside --libdir "${libdir%/}")
includedir=$(inside --includedir "${includedir%/}")
[ -z "$from" ] || from=$(cd "$from" && pwd) || fail "--from names no directory"

cd "$(dirname "$0")"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
soname=$(sed -n 's/.*-soname,\(libgamekeeper\.so\.[0-9]*\)".*/\1/p' build.rs)
[ -n "$version" ] && [ -n "$soname" ] || fail "Cargo.toml or build.rs tells no version"

if [ -z "$from" ]; then
  # With the versions that were tested, or not at all.
  "${CARGO:-cargo}" build --locked --release --lib
  from=${CARGO_TARGET_DIR:-target}/release
fi
for library in libgamekeeper.so libgamekeeper.a; do
  [ -f "$from/$library" ] || fail "$from has no $library"
done

# The fifth byte of a library's file tells which kind of machine it is for.
case "$(od -An -tu1 -j4 -N1 "$from/libgamekeeper.so" | tr -d ' ')" in
  1) pointer_bytes=4 ;;
  2) pointer_bytes=8 ;;
  *) fail "$from/libgamekeeper.so is no library" ;;
esac

# From a directory inside the prefix back to the prefix: ../ for each part.
back() { printf '%s\n' "$1" | sed 's,[^/][^/]*,..,g'; }

root=${DESTDIR:-}$prefix
lib=$root/$libdir
# As the right side of sed's s,,, has it.
plain() { printf '%s\n' "$1" | sed 's/[\\&,]/\\&/g'; }
fill() { # template, destination
  sed -e "s,@VERSION@,$version,g" -e "s,@SONAME@,$soname,g" \
    -e "s,@LIBDIR@,$(plain "$libdir"),g" -e "s,@INCLUDEDIR@,$(plain "$includedir"),g" \
    -e "s,@POINTER_BYTES@,$pointer_bytes,g" \
    -e "s,@PC_BACK@,$(back "$libdir/pkgconfig"),g" -e "s,@CMAKE_BACK@,$(back "$libdir/cmake/gamekeeper"),g" \
    "packaging/$1.in" >"$2/$1"
  chmod 644 "$2/$1"
}

mkdir -p "$root/$includedir" "$lib/pkgconfig" "$lib/cmake/gamekeeper"
install -m 644 include/gamekeeper.h include/gamekeeper.hpp "$root/$includedir/"
install -m 644 "$from/libgamekeeper.a" "$lib/"
# A new file under the name, so that programs that run keep the old one.
rm -f "$lib/libgamekeeper.so.$version"
install -m 755 "$from/libgamekeeper.so" "$lib/libgamekeeper.so.$version"
ln -sf "libgamekeeper.so.$version" "$lib/$soname"
ln -sf "$soname" "$lib/libgamekeeper.so"
fill gamekeeper.pc "$lib/pkgconfig"
fill gamekeeperConfig.cmake "$lib/cmake/gamekeeper"
fill gamekeeperConfigVersion.cmake "$lib/cmake/gamekeeper"
echo "gamekeeper $version is in $root"
if [ -z "${DESTDIR:-}" ]; then
  case "$prefix" in
    /usr | /usr/local) echo "run ldconfig as root, so that programs find $soname" ;;
  esac
fi
