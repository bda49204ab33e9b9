# Sourced by the tests of the program: a directory of its own, running and checking, TAP lines.
#   sh test_X.sh PROGRAM
set -u
cloze=$1
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
news="$root/examples/news"
here=$(mktemp -d "${TMPDIR:-/tmp}/cloze cli XXXXXX") || exit 1 # a blank in every path
trap 'rm -rf "$here"' EXIT
trap 'exit 1' INT TERM
cd "$here" || exit 1
# Waiting threads must sleep: tests run side by side.
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
count=0 failed=0

# verdict STATUS NAME: 0 is good
verdict() {
    count=$((count + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $count - $2"
    else
        echo "not ok $count - $2"
        failed=$((failed + 1))
        sed 's/^/# stdout: /' out 2>/dev/null | head -n 20
        sed 's/^/# stderr: /' err 2>/dev/null | tail -n 20
    fi
}

# run ARGUMENTS...: leaves out, err and $code
run() {
    "$cloze" "$@" >out 2>err </dev/null
    code=$?
}

# works NAME ARGUMENTS...
works() {
    name=$1
    shift
    run "$@"
    verdict "$code" "$name"
}

# refuses CODE PATTERN ARGUMENTS...: the exit code, nothing on standard output, and one line of error
# that begins with the command's name and has the pattern
refuses() {
    want=$1 pattern=$2
    shift 2
    run "$@"
    [ "$code" -eq "$want" ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
        grep -q "^cloze[a-z ]*: " err && grep -q -- "$pattern" err
    verdict $? "exit $want: cloze $*"
}

# has NAME PATTERN [FILE]: a line of the last output has the pattern
has() {
    grep -q -- "$2" "${3:-out}"
    verdict $? "$1"
}

same() { # NAME FILE FILE
    cmp -s "$2" "$3"
    verdict $? "$1"
}

equal() { # NAME GOT WANTED
    [ "$2" = "$3" ] || echo "# got $2, wanted $3"
    [ "$2" = "$3" ]
    verdict $? "$1"
}

# A random model of a few thousand weights in ./model.
make_model() {
    cut -f 1 "$news/train.txt" >raw.txt
    "$cloze" pretrain --train_file raw.txt --output_dir model --hidden_size 32 --num_hidden_layers 1 \
        --num_attention_heads 2 --vocab_size 1500 --max_steps 3 --max_seq_length 32 --eval_lines 0 \
        --tokens_per_batch 512 >out 2>err </dev/null
    verdict $? "a tiny model"
}

finish() {
    echo "1..$count"
    [ "$failed" -eq 0 ]
    exit
}
