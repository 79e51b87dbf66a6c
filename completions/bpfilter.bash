# bash completion for bpfilter. Written by scripts/gen_completions.py; do not edit.

_bpfilter_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_bpfilter_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

_bpfilter_directories() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
}

_bpfilter() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _bpfilter_words "apply list status zero clear check confirm save restore adopt release install uninstall -h --help -V --version"
        return
    fi
    case ${COMP_WORDS[1]} in
    apply)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
            --confirm) return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait -n --dry-run --confirm -c --counters -v --verbose"
        else
            _bpfilter_files
        fi
        ;;
    list)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -v --verbose --save --json --line-numbers"
        else
            _bpfilter_words "INPUT FORWARD OUTPUT"
        fi
        ;;
    status)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help --netns --json"
        fi
        ;;
    zero)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait"
        fi
        ;;
    clear)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait --stale"
        fi
        ;;
    check)
        case $prev in
            --packet) return ;;
            --pcap) _bpfilter_files; return ;;
            --in) _bpfilter_words "$(ls /sys/class/net 2>/dev/null)"; return ;;
            --out) _bpfilter_words "$(ls /sys/class/net 2>/dev/null)"; return ;;
            --hook) _bpfilter_words "INPUT FORWARD OUTPUT"; return ;;
            --local) return ;;
            --state) _bpfilter_words "new established related invalid untracked"; return ;;
            --ctmark) return ;;
            --ctstatus) return ;;
            --ctexpire) return ;;
            --mark) return ;;
            --uid) return ;;
            --gid) return ;;
            --cpu) return ;;
            --expect) _bpfilter_words "ACCEPT DROP"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --packet --pcap --in --out --hook --local --state --reply --ctmark --ctstatus --ctexpire --mark --uid --gid --cpu --partial --expect --json -v --verbose"
        else
            _bpfilter_files
        fi
        ;;
    confirm)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns"
        fi
        ;;
    save)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait -c --counters -v --verbose"
        else
            _bpfilter_files
        fi
        ;;
    restore)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait --boot"
        else
            _bpfilter_files
        fi
        ;;
    adopt)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
            --from) _bpfilter_words "nft legacy"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait --from -n --dry-run"
        fi
        ;;
    release)
        case $prev in
            --netns) _bpfilter_words "$(ls /run/netns 2>/dev/null)"; return ;;
            -w|--wait) return ;;
            --to) _bpfilter_words "nft legacy"; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help -4 --ipv4 -6 --ipv6 --netns -w --wait --to"
        fi
        ;;
    install)
        case $prev in
            --directory) _bpfilter_directories; return ;;
            --scripts) _bpfilter_directories; return ;;
            --root) _bpfilter_directories; return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help --set --auto -n --dry-run --directory --scripts --root"
        fi
        ;;
    uninstall)
        case $prev in
            --root) _bpfilter_directories; return ;;
            -w|--wait) return ;;
        esac
        if [[ $cur == -* ]]; then
            _bpfilter_words "-h --help --keep-rules -n --dry-run --root -w --wait"
        fi
        ;;
    esac
}

complete -F _bpfilter bpfilter
