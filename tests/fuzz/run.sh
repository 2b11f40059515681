#!/usr/bin/env bash
# run.sh PROGRAM SECONDS [libFuzzer OPTION...]: fuzzes from the committed corpus, which it never changes. New inputs are
# kept beside the program, in corpus-NAME; one that crashes, hangs or leaks in crashes-NAME.
set -euo pipefail
program=$(realpath "$1")
seconds=$2
shift 2
name=$(basename "$program" _fuzz)
committed=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/corpus/$name
cd "$(dirname "$program")"
mkdir -p "corpus-$name" "crashes-$name"
[ -d "$committed" ] || {
    echo "there is no corpus $committed" >&2
    exit 1
}
# libFuzzer's own exit status for a crash is 77, which Meson takes for "skipped".
exec "$program" -error_exitcode=1 -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2560 -print_final_stats=1 \
    -artifact_prefix="crashes-$name/" "$@" "corpus-$name" "$committed"
