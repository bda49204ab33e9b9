#!/bin/sh
# Help and version: on standard output, with what works and nothing else.
. "$(dirname "$0")/tap.sh"

works 'version' --version
has 'it is one line' '^cloze [0-9]*\.[0-9]*\.[0-9]*$'
"$cloze" >out 2>err </dev/null
verdict $? 'no arguments'
for command in train eval predict fill tokenize inspect pretrain; do
    has "the overview has $command" "^  $command "
done
for command in train eval predict fill tokenize inspect pretrain; do
    works "$command --help" $command --help
    has 'with examples' "^  .*cloze $command --"
    has 'with flags' '^  --json$'
    cp out help
    works "help $command" help $command
    same 'the same text' out help
done
run train --max_steps 3 --help
has 'help wins over other flags' '^usage: cloze train'
refuses 2 'did you mean inspect' help inspekt
finish
