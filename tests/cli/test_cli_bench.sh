#!/bin/sh
# The benchmark's command line, and that the peers' scripts are where its cases look for them.
. "$(dirname "$0")/tap.sh"

bench="$(dirname "$cloze")/cloze_bench"
"$bench" "$root" --list >out 2>err
verdict $? 'cloze_bench --list'
has 'a case with its peer and goal' '^train_base_bf16 .*PyTorch.*goal 1\.50x$'
has 'a case without a peer' '^stream_mini .*(no peer)$'
"$bench" "$root" --pairs 0 >out 2>err
equal 'no pairs: the command line is wrong' $? 2
"$bench" "$root" --colour >out 2>err
equal 'an unknown flag' $? 2
has 'is named' '^bench: --colour is not known' err
for script in $(grep -o '[a-z_]*\.py' "$root/bench/cases.c" | sort -u); do
    [ -f "$root/bench/peers/$script" ] || break
done
verdict $? 'the scripts of the peers'
finish
