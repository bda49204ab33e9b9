#!/bin/sh
# Help and version: on standard output, with what works and nothing else.
. "$(dirname "$0")/tap.sh"

works 'version' --version
has 'it is one line' '^cloze [0-9]*\.[0-9]*\.[0-9]*$'
"$cloze" >out 2>err </dev/null
verdict $? 'no arguments'
for command in train eval predict fill tokenize inspect pretrain convert; do
    has "the overview has $command" "^  $command "
done
for command in train eval predict fill tokenize inspect pretrain convert; do
    works "$command --help" $command --help
    has 'with examples' "^  .*cloze $command --"
    has 'with flags' '^  --json$'
    cp out help
    works "help $command" help $command
    same 'the same text' out help
done
# 80 columns, where wc knows how wide characters are
if [ "$(printf '这\n' | LC_ALL=C.UTF-8 wc -L 2>/dev/null)" = 2 ]; then
    for command in '' train eval predict fill tokenize inspect pretrain convert; do
        "$cloze" $command --help >out 2>err </dev/null
        wide=$(LC_ALL=C.UTF-8 wc -L <out)
        [ "$wide" -le 80 ]
        verdict $? "cloze $command --help is $wide columns wide"
    done
fi

# every flag of every example is one: the wrong one behind them is the first that is found
for command in train eval predict fill tokenize inspect pretrain convert; do
    "$cloze" $command --help | sed -e '/^Flags/,$d' -e '/^usage/,/^$/d' -e 's/\\$/\\/' | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' |
        grep '^  .*cloze ' | sed -e 's/^.*cloze /cloze /' -e 's/ [<>|].*//' >examples
    [ "$(wc -l <examples)" -ge 3 ]
    verdict $? "cloze $command --help has three examples or more"
    while IFS= read -r line; do
        eval "set -- $line"
        shift
        (cd "$root" && "$cloze" "$@" --zzzzzzzz) >out 2>err </dev/null
        case $line in
        *--config*) grep -q 'training_args.json' err ;; # a run that is not there
        *) grep -q 'unknown flag --zzzzzzzz' err ;;
        esac
        verdict $? "example: $line"
    done <examples
done
run train --max_steps 3 --help
has 'help wins over other flags' '^usage: cloze train'
refuses 2 'did you mean inspect' help inspekt
finish
