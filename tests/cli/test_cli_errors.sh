#!/bin/sh
# Wrong command lines, data and models: the exit code says whose fault it is, one line says what.
. "$(dirname "$0")/tap.sh"

make_model
mkdir data empty
printf 'a\tx\nb\ty\n' >data/train.txt
printf 'no tab here\n' >notab.txt
printf 'a\tx\nb\tz\n' >unknown.txt
printf 'a\tx\n\377\ty\n' >latin.txt

# the command line: 2
refuses 2 'did you mean train' trian
refuses 2 'unknown command' xyzzy
refuses 2 'did you mean --max_steps' train --max_stepz 3
refuses 2 'unknown flag --foo' train --foo
refuses 2 'not a flag' train data
refuses 2 'not a number' train --learning_rate fast
refuses 2 'not a whole number' train --max_steps 1.5
refuses 2 'out of range' train --seed -1
refuses 2 'not one of' train --method magic
refuses 2 'needs a value' train --data_dir
refuses 2 'not one of' predict --model model --device toaster
refuses 2 '--model DIR is missing' predict
refuses 2 '--model DIR is missing' eval --input x
refuses 2 '--input FILE is missing' eval --model model
refuses 2 'not a flag of `cloze eval`' eval --max_steps 3
refuses 2 'not built yet' train --do_export
refuses 2 'resume_from_checkpoint' train --do_predict --data_dir "$news"
refuses 2 'template, column' train --data_dir data --model_name_or_path model --prompt "{'mask'"
refuses 2 'no room' train --data_dir data --model_name_or_path model --max_seq_length 4 \
    --prompt 这条新闻标题的主题是

# data: 3
refuses 3 'no such directory' train --data_dir nowhere --model_name_or_path model
refuses 3 'train.txt' train --data_dir empty --model_name_or_path model
refuses 3 'no such file' train --train_file nothing.txt --model_name_or_path model
refuses 3 'notab.txt:1' train --train_file notab.txt --model_name_or_path model
refuses 3 'latin.txt:2:1' train --train_file latin.txt --model_name_or_path model
refuses 3 'unknown.txt:2' train --data_dir data --dev_file unknown.txt --do_train --do_eval \
    --model_name_or_path model

# the model: 4
refuses 4 'cloze-mini-zh' train --data_dir data
refuses 4 'nobody' train --data_dir data --model_name_or_path nobody
refuses 4 'vocab.txt' train --data_dir data --model_name_or_path empty
refuses 4 'no trained classifier' predict --model model --input notab.txt
refuses 4 'no such directory' eval --model nowhere --input data/train.txt
mkdir broken
cp model/config.json model/vocab.txt broken
head -c 100 model/model.safetensors >broken/model.safetensors
refuses 4 'model.safetensors' fill --model broken --text '[MASK]'
echo '{' >broken/config.json
refuses 4 'config.json' inspect --model broken

# the disk: 6
refuses 6 'notab.txt' train --data_dir data --model_name_or_path model \
    --output_dir notab.txt/output_is_a_file
if [ -c /dev/full ]; then
    "$cloze" tokenize --model model --text 今天 >/dev/full 2>err
    equal 'a full disk is exit 6' $? 6
    has 'it says so' 'could not be written: No space left' err
    "$cloze" --help >/dev/full 2>err
    equal 'help to a full disk is exit 6' $? 6
    "$cloze" train --help >/dev/full 2>err # more than one buffer of the C library
    has 'and says so' 'could not be written: No space left' err
fi
# a reader that goes away: the exit code is in a file, because the pipe hides it
yes 今天天气很好 | head -n 20000 >many.txt
{ "$cloze" tokenize --model model --json --input many.txt 2>err; echo $? >status; } | head -n 1 >/dev/null
equal 'a closed pipe is exit 6' "$(cat status)" 6
"$cloze" train --help 2>err | true
equal 'help that nobody reads says nothing' "$(cat err)" ''

finish
