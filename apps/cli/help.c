/* What `cloze --help` and `cloze COMMAND --help` say: usage and examples here, flags from the
 * library. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

typedef struct topic {
    const char *command, *summary, *usage, *examples;
} topic;

static const topic TOPICS[] = {
    {"train", "train a classifier from a few labelled examples",
     "cloze train --data_dir DIR [--prompt TEMPLATE | --method finetune] [flags]",
     "  cloze train --data_dir examples/news --output_dir out --model_name_or_path cloze-mini-zh "
     "\\\n"
     "      --prompt \"这条新闻标题的主题是\" --max_steps 100 --do_train --do_eval\n"
     "  cloze train --method finetune --data_dir examples/news --output_dir out2 \\\n"
     "      --model_name_or_path cloze-mini-zh --learning_rate 1e-4 --do_train --do_eval\n"
     "  cloze train --train_file my.jsonl --text_column sentence --label_column topic \\\n"
     "      --model_name_or_path ./my-bert --output_dir out3\n"
     "  cloze train --do_predict --data_dir examples/news --output_dir predicted \\\n"
     "      --resume_from_checkpoint out\n"},
    {"eval", "metrics of a trained run on a labelled file",
     "cloze eval --model RUN_DIR --input FILE [flags]",
     "  cloze eval --model out --input examples/news/test.txt\n"
     "  cloze eval --model out --input examples/news/test.txt --json > metrics.json\n"},
    {"predict", "label and probabilities for each line of a file or a pipe",
     "cloze predict --model RUN_DIR [--input FILE] [--output FILE] [--json] [flags]",
     "  cloze predict --model out --input examples/news/data.txt\n"
     "  cloze predict --model out --input examples/news/data.txt --json --output answers.jsonl\n"
     "  echo 国足今晚迎战韩国队 | cloze predict --model out --input - --json\n"},
    {"fill", "fill the masks of a sentence",
     "cloze fill --model MODEL [--text TEXT | --input FILE] [--top_k N] [--json]",
     "  cloze fill --model cloze-mini-zh --text \"今天[MASK][MASK]很好\"\n"
     "  cloze fill --model cloze-mini-zh --top_k 3 --json < sentences.txt\n"},
    {"tokenize", "text to token ids, tokens and offsets",
     "cloze tokenize --model MODEL [--text TEXT | --input FILE] [--json]",
     "  cloze tokenize --model cloze-mini-zh --text \"今天天气很好\"\n"
     "  cloze tokenize --model cloze-mini-zh --json < lines.txt > tokens.jsonl\n"},
    {"inspect", "what is in a model or a run; how a prompt wraps a text",
     "cloze inspect --model MODEL [--prompt TEMPLATE --text TEXT] [--json]",
     "  cloze inspect --model cloze-mini-zh\n"
     "  cloze inspect --model out --json\n"
     "  cloze inspect --model cloze-mini-zh --prompt \"这条新闻标题的主题是\" \\\n"
     "      --text \"国足今晚迎战韩国队\" --max_seq_length 24\n"},
    {"pretrain", "masked-LM training on raw text, from scratch or from a model",
     "cloze pretrain --train_file FILE --output_dir DIR [--model_name_or_path MODEL] [flags]",
     "  cloze pretrain --train_file corpus.txt --output_dir my-bert --max_steps 20000\n"
     "  cloze pretrain --train_file domain.txt --model_name_or_path cloze-mini-zh \\\n"
     "      --output_dir adapted --num_train_epochs 1\n"},
    {"convert", "a model in another format: safetensors, PyTorch .bin, Paddle .pdparams",
     "cloze convert --model MODEL --output_dir DIR [--format FORMAT] [--dtype DTYPE]",
     "  cloze convert --model ~/.paddlenlp/models/ernie-3.0-base-zh --output_dir ernie-hf\n"
     "  cloze convert --model cloze-mini-zh --output_dir mini-paddle --format paddle --dtype "
     "float32\n"
     "  cloze convert --model out --output_dir out-paddle --format paddle\n"},
};
#define N_TOPICS (sizeof TOPICS / sizeof *TOPICS)

static void print_overview(void) {
    puts("cloze " CLOZE_VERSION ": few-shot text classification by prompt learning\n");
    puts("usage: cloze COMMAND [flags]\n");
    for (size_t i = 0; i < N_TOPICS; i++)
        printf("  %-10s %s\n", TOPICS[i].command, TOPICS[i].summary);
    puts("\nExamples\n"
         "  cloze train --data_dir examples/news --output_dir out --model_name_or_path "
         "cloze-mini-zh \\\n"
         "      --prompt \"这条新闻标题的主题是\" --max_steps 100 --do_train --do_eval\n"
         "  cloze eval --model out --input examples/news/test.txt\n"
         "  cloze predict --model out --input examples/news/data.txt --json\n\n"
         "Data are lines of `text<TAB>label` (or JSON lines, or CSV). A model is a directory with\n"
         "config.json, a vocabulary and weights as Hugging Face writes them, or a name that is "
         "looked\n"
         "up in ./models, $CLOZE_MODELS and the local Hugging Face and Paddle caches.\n"
         "Results go to standard output, progress and messages to standard error.\n\n"
         "cloze COMMAND --help lists the flags of a command.");
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
        printf("cloze %s: %s\n\nusage: %s\n\nExamples\n%s", command, TOPICS[i].summary,
               TOPICS[i].usage, TOPICS[i].examples);
    }
    puts("\nFlags (- and _ are the same in their names; the default in brackets)");
    fputs(flags, stdout);
    cloze_free(flags);
    return CLOZE_OK;
}
