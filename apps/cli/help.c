/* What `cloze --help` and `cloze COMMAND --help` say: usage and examples here, flags from the
 * library. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

typedef struct topic {
    const char *command, *summary, *usage;
    const char *about;    /* what to know first */
    const char *examples; /* that work on the shipped data and model */
} topic;

static const topic TOPICS[] = {
    {"train", "train a classifier from a few labelled examples",
     "cloze train --data_dir DIR [--prompt TEXT | --method finetune] [flags]",
     "Reads train.txt (`text<TAB>label`), label.txt (`label==word`) and, to evaluate,\n"
     "dev.txt in DIR. A prompt is text with a gap that the model fills; fine-tuning\n"
     "learns a new head. All that is learnt goes to --output_dir, which `eval` and\n"
     "`predict` take as --model. A run that was interrupted goes on with the same\n"
     "command and --resume_from_checkpoint last.\n",
     "  cloze train --data_dir examples/news --output_dir out --do_train --do_eval \\\n"
     "      --model_name_or_path cloze-mini-zh --prompt 这条新闻标题的主题是 \\\n"
     "      --max_steps 100 --learning_rate 1e-4 --eval_steps 20\n"
     "  cloze train --method finetune --data_dir examples/news --output_dir out2 \\\n"
     "      --model_name_or_path cloze-mini-zh --learning_rate 1e-4 --max_steps 100\n"
     "  # early stopping, the best model, R-Drop, rare labels weigh more\n"
     "  cloze train --data_dir examples/news --output_dir out3 --early_stop \\\n"
     "      --model_name_or_path cloze-mini-zh --prompt 这条新闻标题的主题是 \\\n"
     "      --use_rdrop --hidden_dropout_prob 0.1 --class_weights balanced\n"
     "  # JSON lines or CSV with columns of any name\n"
     "  cloze train --train_file my.jsonl --text_column sentence \\\n"
     "      --label_column topic --model_name_or_path ./my-bert --output_dir out4\n"
     "  # the flags of an earlier run, with another seed\n"
     "  cloze train --config out/training_args.json --output_dir out5 --seed 7\n"
     "  # label a test file with a trained run\n"
     "  cloze train --do_predict --data_dir examples/news --output_dir predicted \\\n"
     "      --resume_from_checkpoint out\n"},
    {"eval", "metrics of a trained run on a labelled file",
     "cloze eval --model RUN_DIR --input FILE [flags]",
     "Accuracy, F1 and loss, each label's precision and recall, and who is mistaken\n"
     "for whom. The file may be `text<TAB>label` lines, JSON lines or CSV.\n",
     "  cloze eval --model out --input examples/news/test.txt\n"
     "  cloze eval --model out/checkpoint-80 --input examples/news/dev.txt\n"
     "  cloze eval --model out --input examples/news/test.txt --json > metrics.json\n"},
    {"predict", "label and probabilities for each line of a file or a pipe",
     "cloze predict --model RUN_DIR [--input FILE] [--output FILE] [--json]",
     "One line of output for each line of input, in the same order, in constant\n"
     "memory; `text<TAB>label`, or with --json the probability of every label.\n",
     "  cloze predict --model out --input examples/news/data.txt\n"
     "  cloze predict --model out --input examples/news/data.txt --json \\\n"
     "      --output answers.jsonl\n"
     "  echo 国足今晚迎战韩国队 | cloze predict --model out --input - --json\n"},
    {"fill", "fill the masks of a sentence",
     "cloze fill --model MODEL [--text TEXT | --input FILE] [--top_k N]",
     "What a masked language model knows before any training: a good way to try\n"
     "prompts and label words.\n",
     "  cloze fill --model cloze-mini-zh --text \"今天[MASK][MASK]很好\"\n"
     "  cloze fill --model cloze-mini-zh --top_k 10 \\\n"
     "      --text \"国足今晚迎战韩国队。这条新闻的主题是[MASK][MASK]\"\n"
     "  cloze fill --model cloze-mini-zh --top_k 3 --json < sentences.txt\n"},
    {"tokenize", "text to token ids, tokens and offsets",
     "cloze tokenize --model MODEL [--text TEXT | --input FILE] [--json]",
     "What the model sees of a text. Needs a vocabulary, no weights.\n",
     "  cloze tokenize --model cloze-mini-zh --text 今天天气很好\n"
     "  cloze tokenize --model cloze-mini-zh --input examples/news/data.txt\n"
     "  cloze tokenize --model cloze-mini-zh --json < lines.txt > tokens.jsonl\n"},
    {"inspect", "what is in a model or run, what a prompt makes, what a run takes",
     "cloze inspect --model MODEL [--prompt TEMPLATE --text TEXT] [--json]\n"
     "       cloze inspect --model MODEL --data_dir DIR [flags of train]",
     "With data it forecasts a training run before it begins: tokens a batch,\n"
     "memory by parts, seconds a step and in all. It takes every flag of `train`.\n",
     "  cloze inspect --model cloze-mini-zh\n"
     "  cloze inspect --model out --json\n"
     "  cloze inspect --model cloze-mini-zh --prompt 这条新闻标题的主题是 \\\n"
     "      --text 国足今晚迎战韩国队 --max_seq_length 24\n"
     "  cloze inspect --model cloze-mini-zh --data_dir examples/news \\\n"
     "      --prompt 这条新闻标题的主题是 --bf16 --max_steps 1000\n"},
    {"pretrain", "masked-LM training on raw text, from scratch or from a model",
     "cloze pretrain --train_file FILE --output_dir DIR [flags]",
     "A corpus is a file with one text a line. Going on from a model with texts of\n"
     "your own field often helps a classifier more than anything else.\n",
     "  cloze pretrain --train_file examples/news/data.txt --output_dir adapted \\\n"
     "      --model_name_or_path cloze-mini-zh --max_steps 20\n"
     "  cloze pretrain --train_file corpus.txt --output_dir my-bert \\\n"
     "      --max_steps 20000 --vocab_size 8000 --hidden_size 256 --warmup_ratio 0.05\n"
     "  cloze pretrain --train_file corpus.txt --output_dir my-bert \\\n"
     "      --max_steps 20000 --resume_from_checkpoint last\n"},
    {"convert", "a model in another format: safetensors, .bin or .pdparams",
     "cloze convert --model MODEL --output_dir DIR [--format FORMAT] [flags]",
     "The tensors keep their values; names and layout become those of the other\n"
     "framework. What was written is read back and compared before it stands.\n",
     "  cloze convert --model ernie-3.0-base-zh --output_dir ernie-hf\n"
     "  cloze convert --model cloze-mini-zh --output_dir mini-paddle \\\n"
     "      --format paddle --dtype float32\n"
     "  cloze convert --model out --output_dir out-paddle --format paddle\n"},
};
#define N_TOPICS (sizeof TOPICS / sizeof *TOPICS)

static void print_overview(void) {
    puts("cloze " CLOZE_VERSION ": text classification from a few labelled examples, by prompt\n"
         "learning and by fine-tuning\n\nusage: cloze COMMAND [flags]\n");
    for (size_t i = 0; i < N_TOPICS; i++)
        printf("  %-10s%s\n", TOPICS[i].command, TOPICS[i].summary);
    puts("\nExamples (in the folder of the source)\n"
         "  cloze train --data_dir examples/news --output_dir out --do_train --do_eval \\\n"
         "      --model_name_or_path cloze-mini-zh --prompt 这条新闻标题的主题是 \\\n"
         "      --max_steps 100 --learning_rate 1e-4\n"
         "  cloze eval --model out --input examples/news/test.txt\n"
         "  cloze predict --model out --input examples/news/data.txt --json\n"
         "  cloze fill --model cloze-mini-zh --text \"今天[MASK][MASK]很好\"\n\n"
         "Data are lines of `text<TAB>label` (or JSON lines, or CSV). A model is a\n"
         "directory with config.json, a vocabulary and weights as Hugging Face or\n"
         "PaddleNLP write them, or a name that is looked up in $CLOZE_MODELS, ./models\n"
         "and the local Hugging Face and Paddle caches. Nothing is downloaded.\n\n"
         "Results go to standard output, progress and messages to standard error. The\n"
         "exit code says whose fault a failure is: 2 the command line, 3 the data, 4 the\n"
         "model, 5 memory, 6 the disk, 7 a loss that is no number, 130 an interruption.\n\n"
         "cloze COMMAND --help (or cloze help COMMAND) has examples and all flags.\n"
         "cloze --version tells the version.");
}

int help_print(const char *command) {
    cloze_error error;
    char *flags = NULL;
    if (!command) {
        print_overview();
        return CLOZE_OK;
    }
    cloze_status status = cloze_help(command, &flags, &error);
    if (status != CLOZE_OK) {
        fprintf(stderr, "cloze: %s\n", error.message);
        return (int)status;
    }
    for (size_t i = 0; i < N_TOPICS; i++) {
        if (strcmp(TOPICS[i].command, command) != 0) continue;
        printf("cloze %s: %s\n\nusage: %s\n\n%s\nExamples\n%s", command, TOPICS[i].summary,
               TOPICS[i].usage, TOPICS[i].about, TOPICS[i].examples);
    }
    puts("\nFlags (- and _ are the same in their names; the default in brackets)");
    fputs(flags, stdout);
    cloze_free(flags);
    return CLOZE_OK;
}
