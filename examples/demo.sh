#!/bin/sh
# The demo of `./run demo`: the shipped small model learns fifteen news topics from 240 headlines, once
# by prompt and once by classic fine-tuning with the same budget, and both are tested on 600 others.
#
#   sh examples/demo.sh [MODEL]     MODEL: another masked language model (a directory or a name)
#
# Everything it makes is in demo-output/. POSIX sh; needs the program (./run build) and nothing else.
set -u

steps=${STEPS:-120} # of both methods
batch=16            # headlines a step
prompt="{'mask'}{'hard':'新闻：'}{'text':'text_a'}" # as many masks as the topic's word in label.txt has tokens
prompt_rate=2e-4 # each rate is its method's best on dev.txt
finetune_rate=8e-4
seed=42

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
cloze="$root/build/cloze" data="$root/examples/news" out="$root/demo-output"
model=${1:-$root/models/cloze-mini-zh}

die() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

heading() { printf '\n== %s\n' "$*"; }

# number FILE KEY: the value of "KEY": in a JSON file
number() { sed -n 's/.*"'"$2"'": *\([0-9.eE+-]*\).*/\1/p' "$1" | head -n 1; }

# train NAME FLAGS...: trains into demo-output/NAME and tests it; its figures are in NAME-test.json
train() {
    name=$1
    shift
    "$cloze" train --data_dir "$data" --model_name_or_path "$model" --output_dir "$out/$name" \
        --do_train --max_steps "$steps" --per_device_train_batch_size "$batch" --max_seq_length 64 \
        --logging_steps 20 --save_strategy no --seed "$seed" "$@" --json >"$out/$name-train.json" ||
        exit
    "$cloze" eval --model "$out/$name" --input "$data/test.txt" --json >"$out/$name-test.json" ||
        exit
}

# row TITLE ACCURACY SECONDS
row() { awk -v t="$1" -v a="$2" -v s="$3" 'BEGIN { printf "  %-42s %6.1f %%  %s\n", t, 100 * a, s }'; }

[ -x "$cloze" ] || die "the program is not built: run $root/run build"
if [ ! -f "$root/models/cloze-mini-zh/config.json" ] && [ $# -eq 0 ]; then
    die "the shipped model $root/models/cloze-mini-zh is missing; name another Chinese masked language" \
        "model: sh '$0' DIRECTORY"
fi
mkdir -p "$out" || die "cannot write to $out"

heading "Training by prompt: $steps steps of $batch headlines"
printf 'template: %s, which is [MASK][MASK]新闻：HEADLINE\n' "$prompt"
train prompt --method prompt --prompt "$prompt" --verbalizer manual --learning_rate "$prompt_rate"

heading "Training by fine-tuning: $steps steps of $batch headlines"
train finetune --method finetune --learning_rate "$finetune_rate"

heading "Labelling $data/data.txt"
"$cloze" predict --model "$out/prompt" --input "$data/data.txt" --json \
    --output "$out/predictions.jsonl" || exit
sed -n 's/^{"text": "\(.*\)", "label": "\([^"]*\)", "probability": \([0-9.e-]*\), .*/\3 \2 \1/p' \
    "$out/predictions.jsonl" | head -n 5 | while read -r probability label text; do
    awk -v p="$probability" -v l="$label" -v t="$text" \
        'BEGIN { printf "  %5.1f %%  %-18s %s\n", 100 * p, l, t }'
done

heading 'Accuracy on 600 headlines (15 topics, 240 examples to learn from)'
row 'chance' 0.0667 ''
row 'TF-IDF + logistic regression (stored)' "$(number "$data/baseline.json" test_accuracy)" ''
for name in finetune prompt; do
    row "cloze, $name" "$(number "$out/$name-test.json" eval_accuracy)" \
        "trained in $(number "$out/$name-train.json" train_runtime | cut -d . -f 1) s"
done

heading 'Where everything is'
cat <<END
  $out/prompt, $out/finetune
      the two runs: model, tokenizer, template and label words, TensorBoard events
  $out/prompt-test.json, finetune-test.json
      all test figures, per label too
  $out/predictions.jsonl
      a label and all probabilities for each line of data.txt

  Try:  '$cloze' eval --model '$out/prompt' --input '$data/test.txt'
        echo 国足今晚迎战韩国队 | '$cloze' predict --model '$out/prompt' --json
END
