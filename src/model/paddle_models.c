/* The sizes of published models that PaddleNLP's cache keeps without a configuration. */
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "model/paddle_config.h"

typedef struct named_model {
    const char *name, *model_type, *hidden_act;
    int layers, hidden, heads, intermediate, vocab, positions, types;
    int tasks; /* 0: no task type embeddings */
} named_model;

static const named_model MODELS[] = {
    {"ernie-1.0", "ernie", "relu", 12, 768, 12, 3072, 18000, 513, 2, 0},
    {"ernie-1.0-base-zh", "ernie", "relu", 12, 768, 12, 3072, 18000, 513, 2, 0},
    {"ernie-1.0-base-zh-cw", "ernie", "gelu", 12, 768, 12, 3072, 40000, 512, 4, 3},
    {"ernie-2.0-base-zh", "ernie", "relu", 12, 768, 12, 3072, 18000, 513, 4, 0},
    {"ernie-2.0-base-en", "ernie", "gelu", 12, 768, 12, 3072, 30522, 512, 4, 0},
    {"ernie-2.0-large-en", "ernie", "gelu", 24, 1024, 16, 4096, 30522, 512, 4, 0},
    {"ernie-3.0-xbase-zh", "ernie", "gelu", 20, 1024, 16, 4096, 40000, 2048, 4, 16},
    {"ernie-3.0-base-zh", "ernie", "gelu", 12, 768, 12, 3072, 40000, 2048, 4, 3},
    {"ernie-3.0-medium-zh", "ernie", "gelu", 6, 768, 12, 3072, 40000, 2048, 4, 16},
    {"ernie-3.0-mini-zh", "ernie", "gelu", 6, 384, 12, 1536, 40000, 2048, 4, 16},
    {"ernie-3.0-micro-zh", "ernie", "gelu", 4, 384, 12, 1536, 40000, 2048, 4, 16},
    {"ernie-3.0-nano-zh", "ernie", "gelu", 4, 312, 12, 1248, 40000, 2048, 4, 16},
    {"ernie-3.0-tiny-base-v2-zh", "ernie", "gelu", 12, 768, 12, 3072, 40000, 2048, 4, 0},
    {"ernie-3.0-tiny-medium-v2-zh", "ernie", "gelu", 6, 768, 12, 3072, 40000, 2048, 4, 0},
    {"ernie-3.0-tiny-mini-v2-zh", "ernie", "gelu", 6, 384, 12, 1536, 40000, 2048, 4, 0},
    {"ernie-3.0-tiny-micro-v2-zh", "ernie", "gelu", 4, 384, 12, 1536, 40000, 2048, 4, 0},
    {"ernie-3.0-tiny-nano-v2-zh", "ernie", "gelu", 4, 312, 12, 1248, 40000, 2048, 4, 0},
    {"ernie-3.0-tiny-pico-v2-zh", "ernie", "gelu", 3, 128, 2, 512, 40000, 2048, 4, 0},
    {"bert-base-chinese", "bert", "gelu", 12, 768, 12, 3072, 21128, 512, 2, 0},
    {"bert-wwm-chinese", "bert", "gelu", 12, 768, 12, 3072, 21128, 512, 2, 0},
    {"bert-wwm-ext-chinese", "bert", "gelu", 12, 768, 12, 3072, 21128, 512, 2, 0},
    {"macbert-base-chinese", "bert", "gelu", 12, 768, 12, 3072, 21128, 512, 2, 0},
    {"macbert-large-chinese", "bert", "gelu", 24, 1024, 16, 4096, 21128, 512, 2, 0},
    {"bert-base-uncased", "bert", "gelu", 12, 768, 12, 3072, 30522, 512, 2, 0},
    {"bert-base-cased", "bert", "gelu", 12, 768, 12, 3072, 28996, 512, 2, 0},
    {"bert-large-uncased", "bert", "gelu", 24, 1024, 16, 4096, 30522, 512, 2, 0},
};

static char *config_text(const named_model *m) {
    buf b;
    buf_init(&b, 4096);
    buf_printf(&b,
               "{\"paddlenlp_version\": null, \"model_type\": \"%s\", \"hidden_act\": \"%s\", "
               "\"num_hidden_layers\": %d, \"hidden_size\": %d, \"num_attention_heads\": %d, "
               "\"intermediate_size\": %d, \"vocab_size\": %d, \"max_position_embeddings\": %d, "
               "\"type_vocab_size\": %d",
               m->model_type, m->hidden_act, m->layers, m->hidden, m->heads, m->intermediate,
               m->vocab, m->positions, m->types);
    if (m->tasks > 0)
        buf_printf(&b, ", \"use_task_id\": true, \"task_type_vocab_size\": %d", m->tasks);
    buf_putc(&b, '}');
    return buf_take(&b);
}

cloze_status paddle_config_of_name(const char *name, char **out, cloze_error *err) {
    *out = NULL;
    for (size_t i = 0; i < sizeof MODELS / sizeof *MODELS; i++) {
        if (strcmp(MODELS[i].name, name) != 0) continue;
        *out = config_text(&MODELS[i]);
        if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory");
    }
    return CLOZE_OK;
}
