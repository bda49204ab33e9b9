#!/bin/sh
# A short training and what comes after it under valgrind's memcheck: ./run valgrind, which calls
#   sh tests/valgrind/run.sh PROGRAM
# Valgrind knows no AVX-512, so the AVX2 kernels run; one thread, because it runs one at a time. There
# are no suppressions: neither cloze nor its libraries give cause for one.
. "$(dirname "$0")/../cli/tap.sh"

export CLOZE_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1

# clean NAME CODE ARGUMENTS...: ends with CODE; no invalid access, no use of undefined bytes, no block
# lost
clean() {
    name=$1 want=$2
    shift 2
    valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
        --show-leak-kinds=definite --num-callers=30 "$cloze" "$@" >out 2>err </dev/null
    equal "$name" $? "$want"
}

make_model
head -n 6 "$news/train.txt" >train.txt
clean 'training by prompt' 0 train --train_file train.txt --dev_file train.txt --do_train --do_eval \
    --model_name_or_path model --output_dir run --max_steps 2 --logging_steps 1 --max_seq_length 24 \
    --save_strategy steps --save_steps 1 --per_device_train_batch_size 3 --num_threads 1
clean 'going on from a checkpoint' 0 train --train_file train.txt --do_train --max_steps 3 \
    --model_name_or_path model --output_dir run --resume_from_checkpoint last \
    --max_seq_length 24 --per_device_train_batch_size 3 --num_threads 1
clean 'fine-tuning in bf16' 0 train --method finetune --bf16 --train_file train.txt --do_train \
    --model_name_or_path model --output_dir tuned --max_steps 1 --max_seq_length 24 \
    --per_device_train_batch_size 3 --num_threads 1
cut -f 1 train.txt >texts.txt
clean 'prediction' 0 predict --model run --input texts.txt --json --num_threads 1
clean 'filling masks' 0 fill --model model --text '今天[MASK]好' --json --num_threads 1
clean 'an error' 4 predict --model none --input texts.txt
finish
