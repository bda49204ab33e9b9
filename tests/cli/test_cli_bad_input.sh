#!/bin/sh
# Bad input of every kind, one line a case in the tables below: the exit code, a pattern of the one
# line of error, the command. Nothing may stand on standard output, and no output is left behind.
. "$(dirname "$0")/tap.sh"

make_model
"$cloze" train --data_dir "$news" --model_name_or_path model --output_dir run --max_steps 1 \
    --max_seq_length 32 --prompt 主题是 >out 2>err </dev/null
verdict $? 'a run by prompt'
"$cloze" train --data_dir "$news" --model_name_or_path model --output_dir tuned --max_steps 1 \
    --max_seq_length 32 --method finetune >out 2>err </dev/null
verdict $? 'a fine-tuned run'

# ---- files ----

mkdir data folder
printf 'a\tx\nb\ty\n' >data/train.txt
: >empty.txt
printf '\n \n\n' >blank.txt
printf 'a\tx\nno tab\n' >notab.txt
printf 'a\\tx\n' >backslash.txt
printf 'a    x\n' >blanks.txt
printf 'a　x\n' >fullwidth.txt
printf '1 a film\n0 another\n' >labelfirst.txt
printf 'a\tx\nb\ty\tz\n' >second.txt
printf 'a\tx\nb\t\n' >nolabel.txt
printf 'a\tx\n\ty\n' >notext.txt
printf 'a\tx\nb\tx\n' >one.txt
printf 'a\tnews_car\nb\tnews_kar\n' >typo.txt
printf 'a\tx\nb\tq\n' >unknown.txt
printf 'a\tx\n\304\343\272\303\ty\n' >gbk.txt
printf '\377\376a\000\t\000x\000\n\000' >utf16.txt
printf 'a\tx\nb\000\ty\n' >nul.txt
printf '{"text": "a", "label": "x"}\n{"text": "b" "label": "y"}\n' >comma.jsonl
printf '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"\n' >brace.jsonl
printf '{"text": "a", "label": '"'x'"'}\n' >quotes.jsonl
printf '{"text": "a", "label": “x”}\n' >typographic.jsonl
printf '{"text": "a", "label": "x"}\n{"text": "b"}\n' >missing.jsonl
printf '{"text": ["a"], "label": "x"}\n' >list.jsonl
printf '{"text": "a", "label": "x"}\n[1]\n' >noobject.jsonl
printf '{"foo": "a", "bar": "x"}\n' >foobar.jsonl
printf '[{"text": "a", "label": "x"},\n {"text": "b" "label": "y"}]\n' >comma.json
printf '[{"text": "a", "label": "x"},\n {"text": "b", "label": "y"}\n' >open.json
printf 'text,label\n"a,x\nb,y\n' >quote.csv
printf 'text,label\n"a"b,x\n' >after.csv
printf 'text,label\na,x\nb,y,z\n' >fields.csv
printf 'text,label,text\na,x,q\n' >twice.csv
printf 'foo,bar\na,x\n' >foobar.csv
printf 'text,label\n' >header.csv
printf 'x==\n' >noword.txt
printf 'x==a==b\n' >words.txt
printf 'x\ta\n' >tab.txt
printf 'x==甲\n' >onlyx.txt
printf '{"x": 0, "y": 1}' >numbers.json
printf '{"x": ["甲"], "y": []}' >nowords.json
printf '{"x": "甲"' >broken.json
printf '{"label": "x"}\n{"label_zh": "乙"}\n' >labelless.json
printf '第一\t第二\t第三\n' >triple.txt
printf '{"text_a": "a", "text_b": "b", "label": "x"}\n{"text_a": "c", "text_b": "d", "label": "y"}\n' \
    >pairs.jsonl
"$cloze" train --train_file pairs.jsonl --model_name_or_path model --output_dir pairs --max_steps 1 \
    --method finetune >out 2>err </dev/null
verdict $? 'a run on pairs'

# broken NAME: a copy of the model to break
broken() {
    mkdir "bad_$1"
    cp model/config.json model/vocab.txt model/tokenizer_config.json model/model.safetensors "bad_$1"
}
# damage NAME FROM TO: another text of the same length in the header of the weights
damage() {
    broken "$1"
    LC_ALL=C sed "s/$2/$3/" model/model.safetensors >"bad_$1/model.safetensors"
}
# put NAME OFFSET FORMAT: bytes written over the weights
put() {
    broken "$1"
    # shellcheck disable=SC2059
    printf "$3" | dd of="bad_$1/model.safetensors" bs=1 seek="$2" conv=notrunc 2>dd.log
}
size=$(wc -c <model/model.safetensors)
broken cut && head -c $((size - 100)) model/model.safetensors >bad_cut/model.safetensors
broken tiny && printf abc >bad_tiny/model.safetensors
broken void && : >bad_void/model.safetensors
broken page && printf '<!DOCTYPE html><html></html>' >bad_page/model.safetensors
broken lfs && printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n' \
    >bad_lfs/model.safetensors
put huge 0 '\000\000\000\000\000\001\000\000'
put lying 0 '\060\000\000\000\000\000\000\000'
put nan $((size - 4)) '\000\000\300\177'
damage missing layer.0.output.dense.weight layer.0.output.dense.weighs
damage dtype '"F32"' '"I32"'
broken shape && sed 's/"intermediate_size": 128/"intermediate_size": 64/' model/config.json \
    >bad_shape/config.json
broken heads && sed 's/"num_attention_heads": 2/"num_attention_heads": 5/' model/config.json \
    >bad_heads/config.json
broken family && sed 's/"bert"/"gpt9"/' model/config.json >bad_family/config.json
broken config && echo '{' >bad_config/config.json
broken noconfig && rm bad_noconfig/config.json
broken noweights && rm bad_noweights/model.safetensors
broken dirweights && rm bad_dirweights/model.safetensors && mkdir bad_dirweights/model.safetensors
broken novocab && rm bad_novocab/vocab.txt
broken bytes && printf '\377\n' >bad_bytes/vocab.txt
broken emptyvocab && : >bad_emptyvocab/vocab.txt
broken othervocab && yes 'word' | head -n 3000 | awk '{ print $0 NR }' >>bad_othervocab/vocab.txt

# lost NAME FILE [TEXT]: a copy of the run without the file, or with another text in it
lost() {
    cp -r run "lost_$1"
    rm "lost_$1/$2"
    [ $# -eq 2 ] || printf '%s' "$3" >"lost_$1/$2"
}
lost labels verbalizer_config.json
lost otherlabels verbalizer_config.json '{"a": ["b"], "c": ["d"]}'
lost template template_config.json
lost broken template_config.json '['
lost maskless template_config.json '[{"text": "text_a"}]'
lost verbalizer prompt.safetensors
lost settings classifier.json '{"method": "magic"}'

# ---- the tables ----

train='--model_name_or_path model --output_dir o --max_steps 1'

# row CODE PATTERN COMMAND: words of the command as the shell reads them
row() {
    want=$1 pattern=$2
    eval "set -- $3"
    run "$@"
    [ "$code" -eq "$want" ] && [ ! -s out ] && [ ! -e o ] && [ ! -e po ] &&
        [ "$(grep -c '^cloze[ :]' err)" -eq 1 ] && tail -n 1 err | grep '^cloze[a-z ]*: ' |
        grep -q -- "$pattern"
    verdict $? "exit $want: cloze $*"
    rm -rf o po
}

while IFS='|' read -r want pattern command; do
    case $want in '' | '#'*) continue ;; esac
    row "$want" "$pattern" "$command"
done <<'TABLE'
# data that is not there, or is no text
3|nothing.txt: there is no such file|train --train_file nothing.txt $train
3|nothing.txt: there is no such file|train --data_dir data --dev_file nothing.txt --do_train --do_eval $train
3|nothing.txt: there is no such file|train --data_dir data --label_file nothing.txt $train
3|nothing.txt: there is no such file|eval --model run --input nothing.txt
3|nothing.txt: there is no such file|predict --model run --input nothing.txt --output po
3|nothing.txt: there is no such file|fill --model model --input nothing.txt
3|nothing.txt: there is no such file|tokenize --model model --input nothing.txt
3|nothing.txt: there is no such file|pretrain --train_file data/train.txt,nothing.txt --output_dir o
3|nowhere: there is no such directory|train --data_dir nowhere $train
3|no train.txt, dev.txt|train --data_dir folder $train
3|notab.txt: not a directory|train --data_dir notab.txt $train
3|folder: is a directory, not a file|train --train_file folder $train
3|folder: is a directory, not a file|train --data_dir data --label_file folder $train
3|folder: is a directory, not a file|eval --model run --input folder
3|folder: is a directory, not a file|predict --model run --input folder --output po
3|folder: is a directory, not a file|fill --model model --input folder
3|folder: is a directory, not a file|tokenize --model model --input folder
3|folder: is a directory, not a file|pretrain --train_file folder --output_dir o
3|empty.txt: there is no example|train --train_file empty.txt $train
3|blank.txt: there is no example|train --train_file blank.txt $train
3|header.csv: there is no example|train --train_file header.csv $train
3|empty.txt: there is no label|train --data_dir data --label_file empty.txt $train
3|empty.txt: there is no example|eval --model run --input empty.txt
3|empty.txt: there is no text|pretrain --train_file empty.txt --output_dir o
3|gbk.txt:2:1: not UTF-8 (byte 0xC4); convert .*iconv|train --train_file gbk.txt $train
3|gbk.txt:2:1: not UTF-8|predict --model run --input gbk.txt --output po
3|gbk.txt:2:1: not UTF-8|pretrain --train_file gbk.txt --output_dir o --vocab_size 200
3|utf16.txt:1:1: the file is UTF-16; save it as UTF-8|train --train_file utf16.txt $train
3|utf16.txt:1:1: the file is UTF-16|train --data_dir data --label_file utf16.txt $train
3|utf16.txt:1:1: the file is UTF-16|predict --model run --input utf16.txt
3|nul.txt:2:2: a NUL byte|train --train_file nul.txt $train
# lines of data
3|notab.txt:2: no tab; a line is text<TAB>label$|train --train_file notab.txt $train
3|backslash.txt:1: .*a backslash and a t|train --train_file backslash.txt $train
3|blanks.txt:1: .*here stand blanks|train --train_file blanks.txt $train
3|fullwidth.txt:1: .*a full-width blank|train --train_file fullwidth.txt $train
3|labelfirst.txt:1: .*--data_format label_text|train --train_file labelfirst.txt $train
3|second.txt:2:4: a second tab|train --train_file second.txt $train
3|nolabel.txt:2: the label is empty|train --train_file nolabel.txt $train
3|notext.txt:2: the text is empty|train --train_file notext.txt $train
3|only one label (x)|train --train_file one.txt $train
3|typo.txt:2: unknown label "news_kar"; is "news_car" meant|eval --model run --input typo.txt
3|unknown.txt:2: unknown label "q"; the labels are: x, y|train --data_dir data --dev_file unknown.txt --do_train --do_eval $train
3|triple.txt:1:6: a second tab; .*--data_format pairs|train --train_file triple.txt $train
3|triple.txt:1: unknown label "第三"; the labels are: x, y|eval --model pairs --input triple.txt
3|notab.txt:2: no tab; a pair is text<TAB>second text|predict --model pairs --input notab.txt --output po
3|comma.jsonl:2:14: not valid JSON: a comma is missing|train --train_file comma.jsonl $train
3|brace.jsonl:2:26: not valid JSON: it breaks off|train --train_file brace.jsonl $train
3|quotes.jsonl:1:24: not valid JSON: strings want double quotes|train --train_file quotes.jsonl $train
3|typographic.jsonl:1:24: not valid JSON: a typographic quote|train --train_file typographic.jsonl $train
3|missing.jsonl:2: no label|train --train_file missing.jsonl $train
3|list.jsonl:1: field "text" must be one string or number, not a list|train --train_file list.jsonl $train
3|noobject.jsonl:2:1: one JSON object a line|train --train_file noobject.jsonl $train
3|foobar.jsonl:1: no column looks like the text; the columns are: foo, bar; name it with --text_column|train --train_file foobar.jsonl $train
3|foobar.jsonl:1: no column looks like the label|train --train_file foobar.jsonl --text_column foo $train
3|comma.json:2:15: not valid JSON: a comma is missing|train --train_file comma.json $train
3|open.json:2: the list is never closed|train --train_file open.json $train
3|quote.csv:2:1: the quote that opens here is never closed|train --train_file quote.csv $train
3|after.csv:2:4: a comma is wanted after the closing quote|train --train_file after.csv $train
3|fields.csv:3: 3 fields, but the header has 2|train --train_file fields.csv $train
3|twice.csv:1: two columns are called "text"|train --train_file twice.csv $train
3|foobar.csv:1: no column "text"; the columns are: foo, bar|train --train_file foobar.csv --text_column text $train
3|foobar.csv:1: no column looks like the text|predict --model run --input foobar.csv --output po
# label files
3|noword.txt:1: no word after ==|train --data_dir data --label_file noword.txt $train
3|words.txt:1: more than one ==|train --data_dir data --label_file words.txt $train
3|tab.txt:1:2: a tab|train --data_dir data --label_file tab.txt $train
3|data/train.txt:2: unknown label "y"; the labels are: x$|train --data_dir data --label_file onlyx.txt $train
3|numbers.json: label "x" has a number where its word belongs|train --data_dir data --label_file numbers.json $train
3|nowords.json: label "y" has no word|train --data_dir data --label_file nowords.json $train
3|broken.json:1:[0-9]*: not valid JSON|train --data_dir data --label_file broken.json $train
3|labelless.json:2: the object has no "label"|train --data_dir data --label_file labelless.json $train
# templates and lengths
2|template, column 1: this { is never closed|train --data_dir data --prompt "{'mask'" $train
2|template, column 18: this } has no {|train --data_dir data --prompt "{'text':'text_a'}}{'mask'}" $train
2|template, column 2: a quoted keyword|train --data_dir data --prompt "{mask}" $train
2|template, column 2: a typographic quote|train --data_dir data --prompt "{‘mask’}" $train
2|there is no 'foo'; a part is text, hard,|train --data_dir data --prompt "{'foo'}{'mask'}" $train
2|'length' wants a whole number|train --data_dir data --prompt "{'text':'text_a','length':-1}{'mask'}" $train
2|the template has no mask|train --data_dir data --prompt "{'text':'text_a'}" $train
2|the template reads the field 'text_c'|train --data_dir data --prompt "{'text':'text_c'}{'mask'}" $train
2|leaves no room for text; shorten it, or give at least 7|train --data_dir data --prompt 主题是 --max_seq_length 6 $train
2|--max_seq_length 513 is more than the model's 512 positions|train --data_dir data --max_seq_length 513 $train
2|leaves no room|predict --model run --input data/train.txt --max_seq_length 5
# flags
2|unknown flag --max_stepz; did you mean --max_steps|train --max_stepz 3
2|--top_k is not a flag of `cloze train`; fill has it|train --top_k 3
2|--max_steps is not a flag of `cloze predict`; train and pretrain have it|predict --model run --max_steps 3
2|--learning_rate: "fast" is not a number|train --learning_rate fast
2|--learning_rate: "nan" is not a number|train --learning_rate nan
2|--max_steps: "1.5" is not a whole number|train --max_steps 1.5
2|--seed: -1 is out of range (0 to 9007199254740991)|train --seed -1
2|--batch_size: 0 is out of range (1 to 65536)|train --batch_size 0
2|--batch_size: 0 is out of range|predict --model run --batch_size 0
2|--per_device_train_batch_size: -8 is out of range|train --per_device_train_batch_size -8
2|--input is empty; it wants a FILE|eval --model run --input ''
2|--model is empty; it wants a DIR|fill --model ''
2|--output_dir is empty|train --output_dir=
2|--data_dir needs a value (DIR)|train --data_dir
2|a flag begins with two plain hyphens, --max_steps|train —max_steps 3
2|a flag begins with two plain hyphens, --max_steps|train -max_steps 3
2|"maybe" is not a flag, and --do_train stands alone or takes true or false|train --do_train maybe
2|"data" is not a flag|train data
2|--text: column 2 is not UTF-8|fill --model model --text "$(printf '[\377')"
2|there is no \[MASK\] to fill|fill --model model --text 今天
2|--text and --input exclude each other|fill --model model --text '[MASK]' --input notab.txt
2|--hidden_size 30 is not a multiple of --num_attention_heads 4|pretrain --train_file data/train.txt --hidden_size 30 --num_attention_heads 4 --output_dir o
2|several times, and standard input can be read once|pretrain --train_file - --output_dir o
2|--do_export is not built yet|train --do_export --data_dir "$news" --output_dir o --resume_from_checkpoint run
2|`cloze infer` is not built yet|infer --model_path_prefix o/export/model --data_dir "$news"
2|`cloze serve` is not built yet|serve
# models and runs
4|nobody: no such model|train --data_dir data --model_name_or_path nobody --output_dir o
4|notab.txt: is a file; give the directory of the model|fill --model notab.txt --text '[MASK]'
4|bad_bytes/vocab.txt:1: not UTF-8|tokenize --model bad_bytes --text x
4|bad_emptyvocab/vocab.txt: there is no token in it|tokenize --model bad_emptyvocab --text x
4|nowhere: there is no such directory; give the output directory of a training run|eval --model nowhere --input data/train.txt
4|run/config.json: is a file; give the directory|predict --model run/config.json --input data/train.txt
4|cloze-mini-zh is a pre-trained model and no trained classifier; train one|eval --model cloze-mini-zh --input data/train.txt
4|no trained classifier here|predict --model model --input data/train.txt --output po
4|no masked language model head in it (it lacks cls.predictions|fill --model tuned --text '[MASK]'
4|the file is cut short|fill --model bad_cut --text '[MASK]'
4|bad_tiny/model.safetensors is neither|fill --model bad_tiny --text '[MASK]'
4|bad_void/model.safetensors is neither|train --data_dir data --model_name_or_path bad_void --output_dir o
4|bad_page/model.safetensors is neither|fill --model bad_page --text '[MASK]'
4|Git LFS pointer|fill --model bad_lfs --text '[MASK]'
4|the header claims 1099511627776 bytes|fill --model bad_huge --text '[MASK]'
4|bad_lying/model.safetensors.*not valid JSON|train --data_dir data --model_name_or_path bad_lying --output_dir o
4|bad_nan/model.safetensors: the weights are damaged: .* holds nan at|fill --model bad_nan --text '[MASK]'
4|tensors are missing: .*layer.0.output.dense.weight|fill --model bad_missing --text '[MASK]'
4|tensors are missing: .*layer.0.output.dense.weight|train --data_dir data --model_name_or_path bad_missing --output_dir o
4|holds I32, not floating-point|fill --model bad_dtype --text '[MASK]'
4|has shape (128, 32), config.json asks for (64, 32)|fill --model bad_shape --text '[MASK]'
4|hidden_size 32 is not a multiple of num_attention_heads 5|train --data_dir data --model_name_or_path bad_heads --output_dir o
4|model_type "gpt9" is not one that is known (bert|fill --model bad_family --text '[MASK]'
4|bad_config/config.json:2:1: not valid JSON: it breaks off|inspect --model bad_config
4|bad_noconfig/config.json: there is no such file|fill --model bad_noconfig --text '[MASK]'
4|bad_noweights: no weights: put model.safetensors|fill --model bad_noweights --text '[MASK]'
4|bad_dirweights/model.safetensors: is a directory|fill --model bad_dirweights --text '[MASK]'
4|bad_novocab has no tokenizer: put vocab.txt|train --data_dir data --model_name_or_path bad_novocab --output_dir o
4|the vocabulary has [0-9]* tokens but the model.* only [0-9]* rows|train --data_dir data --model_name_or_path bad_othervocab --output_dir o
4|verbalizer_config.json: there is no such file|eval --model lost_labels --input "$news/dev.txt"
4|prompt.safetensors: no tensor verbalizer.weight of shape (2, 32)|eval --model lost_otherlabels --input "$news/dev.txt"
4|template_config.json: there is no such file|eval --model lost_template --input "$news/dev.txt"
4|template_config.json:1:1: not valid JSON|predict --model lost_broken --input "$news/dev.txt" --output po
4|lost_maskless.*the template has no mask|eval --model lost_maskless --input "$news/dev.txt"
4|prompt.safetensors: there is no such file|eval --model lost_verbalizer --input "$news/dev.txt"
4|classifier.json: "method" is "magic"|eval --model lost_settings --input "$news/dev.txt"
# places to write to
6|folder: is a directory|predict --model run --input data/train.txt --output folder
6|nowhere/po: cannot create: there is no such directory|predict --model run --input data/train.txt --output nowhere/po
6|nowhere/trace: cannot create: there is no such directory|train --data_dir data --profile_file nowhere/trace $train
6|data: is a directory, not a file|train --data_dir data --profile_file data $train
6|/proc/o: cannot create the directory|train --data_dir data --model_name_or_path model --output_dir /proc/o
6|/proc/po: cannot create|predict --model run --input data/train.txt --output /proc/po
6|notab.txt|train --data_dir data --model_name_or_path model --output_dir notab.txt/o
6|notab.txt|pretrain --train_file data/train.txt --output_dir notab.txt/o
TABLE

# ---- what is only worth a word: exit 0, a line on standard error ----

python_long=$(printf '国%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30)
printf '%s\tx\nb\ty\n' "$python_long" >long.txt
printf '%s\tnews_car\nb\tnews_story\n' "$python_long" >longnews.txt
printf 'x==甲\ny==乙\nz==丙\n' >three.txt
printf 'x=甲\nx\ny\n' >half.txt
printf 'a\tx\n\n \n\nb\ty\n' >gaps.txt
printf 'a\tnews_car\nb\tnews_house\n' >labelled.txt

while IFS='|' read -r pattern command; do
    eval "set -- $command"
    run "$@"
    [ "$code" -eq 0 ] && [ "$(grep -c -- "$pattern" err)" -eq 1 ]
    verdict $? "a word: cloze $*"
    rm -rf o po
done <<'TABLE'
data/train.txt: no example of "z"|train --data_dir data --label_file three.txt $train
half.txt:1: "x=甲" is taken as a label|train --data_dir data --label_file half.txt $train
1 of 2 training texts were cut|train --train_file long.txt --max_seq_length 16 $train
longnews.txt: 1 of 2 texts were cut to fit --max_seq_length 32|eval --model run --input longnews.txt
long.txt: 1 of 2 texts were cut to fit --max_seq_length 32|predict --model run --input long.txt
gaps.txt: 3 blank lines skipped|train --data_dir data --dev_file gaps.txt --do_train --do_eval $train
the lines end in a tab and a label|predict --model run --input labelled.txt
  Label words: |train --data_dir data $train
empty.txt: there is no line in it|predict --model run --input empty.txt
standard input: there is no line in it|predict --model run
--seed is given twice: 2 counts, not 1|train --data_dir data --seed 1 --seed 2 $train
pairs of texts (text_b), but the template reads only the first|train --train_file pairs.jsonl --prompt 主题是 $train
the template holds \[MASK\] as text|train --data_dir data --prompt '主题是[MASK]' $train
TABLE

# ---- pipes and closed streams ----

yes 今天天气很好 | head -n 5000 >many.txt
{ "$cloze" predict --model run --input many.txt 2>err; echo $? >status; } | head -n 1 >out
equal 'a reader that goes away: exit 6' "$(cat status)" 6
equal 'without a word' "$(wc -c <err)" 0
"$cloze" eval --model run --input "$news/dev.txt" --json 2>err >&-
equal 'a closed standard output: exit 6' $? 6
"$cloze" predict --model run 2>err >out <&-
equal 'a closed standard input: exit 6' $? 6
equal 'one line' "$(wc -l <err)" 1
if [ -c /dev/full ]; then
    "$cloze" predict --model run --input many.txt --output /dev/full >out 2>err
    equal 'a full disk: exit 6' $? 6
    has 'it says so' '/dev/full: cannot write: No space left' err
fi
if [ "$(id -u)" -ne 0 ]; then
    mkdir closed && chmod 555 closed
    row 6 'closed' 'train --data_dir data --model_name_or_path model --output_dir closed/o'
    row 6 'closed' 'predict --model run --input data/train.txt --output closed/po'
else
    echo 'SKIP: an unwritable directory (root may write everywhere)'
fi

# a file of 200000 lines: the bad one is named by its number, and predicting holds no lines in memory
awk 'BEGIN { for (i = 1; i <= 200000; i++) print "今天" i "\t" (i == 190001 ? "news_kar" : "news_car") }' >big.txt
row 3 'big.txt:190001: unknown label "news_kar"; is "news_car" meant' 'eval --model run --input big.txt'

finish
