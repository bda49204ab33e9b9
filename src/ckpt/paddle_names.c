/*
 * The table of names, and the search through it. A pattern matches the end of a name, from a dot or
 * from the beginning on, so that any prefix ("ernie.", "plm.bert.", none) stays as it is; # stands
 * for a layer's number.
 */
#include "ckpt/paddle_names.h"

#include <stdio.h>
#include <string.h>

#include "ckpt/ckpt_internal.h"

#define NAME_BYTES_MAX 512
#define HEAD "verbalizer.head."

typedef struct name_rule {
    const char *paddle, *hugging_face; /* without .weight and .bias */
    bool transposed;
} name_rule;

static const name_rule LAYER_RULES[] = {
    {"encoder.layers.#.self_attn.q_proj", "encoder.layer.#.attention.self.query", true},
    {"encoder.layers.#.self_attn.k_proj", "encoder.layer.#.attention.self.key", true},
    {"encoder.layers.#.self_attn.v_proj", "encoder.layer.#.attention.self.value", true},
    {"encoder.layers.#.self_attn.out_proj", "encoder.layer.#.attention.output.dense", true},
    {"encoder.layers.#.norm1", "encoder.layer.#.attention.output.LayerNorm", false},
    {"encoder.layers.#.linear1", "encoder.layer.#.intermediate.dense", true},
    {"encoder.layers.#.linear2", "encoder.layer.#.output.dense", true},
    {"encoder.layers.#.norm2", "encoder.layer.#.output.LayerNorm", false},
    {"embeddings.layer_norm", "embeddings.LayerNorm", false},
    {"pooler.dense", "pooler.dense", true},
    {"cls.predictions.transform", "cls.predictions.transform.dense", true},
    {"cls.predictions.layer_norm", "cls.predictions.transform.LayerNorm", false},
    {"cls.seq_relationship", "cls.seq_relationship", true},
    {"lm_head.dense", "lm_head.dense", true},
    {"classifier.dense", "classifier.dense", true},
    {"classifier.out_proj", "classifier.out_proj", true},
    {"classifier", "classifier", true},
};

/* Whole names. Versions before 2.6 have no "decoder.weight", so that one is only read. */
#define DECODER_BIAS "cls.predictions.decoder_bias"
static const struct { const char *paddle, *hugging_face; } WHOLE_NAMES[] = {
    {DECODER_BIAS, "cls.predictions.bias"},
    {"cls.predictions.decoder_weight", "cls.predictions.decoder.weight"},
};

/* The head of a soft verbalizer, a copy of the masked-LM head with a decoder of its own: of BERT
 * and ERNIE, of RoBERTa, and of both. */
static const struct { const char *paddle, *with_transform, *with_dense; } VERBALIZER_HEADS[] = {
    {"transform", "cls.predictions.transform.dense", NULL},
    {"dense", NULL, "lm_head.dense"},
    {"layer_norm", "cls.predictions.transform.LayerNorm", "lm_head.layer_norm"},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* text[0..n) is the pattern; *digits and *n_digits say what stood for its #. */
static bool matches(const char *text, size_t n, const char *pattern, const char **digits,
                    int *n_digits)
{
    const char *end = text + n;
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (text == end || *text++ != *pattern) return false;
            continue;
        }
        *digits = text;
        while (text < end && is_digit(*text)) text++;
        *n_digits = (int)(text - *digits);
        if (*n_digits == 0) return false;
    }
    return text == end;
}

/* prefix, then the pattern with its # replaced, then the ending. */
static void join(char *out, size_t size, const char *name, size_t prefix_len, const char *pattern,
                 const char *digits, int n_digits, const char *ending)
{
    const char *hash = strchr(pattern, '#');
    int before = hash ? (int)(hash - pattern) : (int)strlen(pattern);
    snprintf(out, size, "%.*s%.*s%.*s%s%s", (int)prefix_len, name, before, pattern, n_digits,
             digits, hash ? hash + 1 : "", ending);
}

/* The other spelling of name into out (copied when no rule knows it); true: a linear's matrix. */
static bool translate(const char *name, bool to_paddle, char *out, size_t size)
{
    size_t len = strlen(name);
    const char *ending = strrchr(name, '.');
    snprintf(out, size, "%s", name);
    if (!ending || (strcmp(ending, ".weight") != 0 && strcmp(ending, ".bias") != 0)) return false;
    size_t stem = len - strlen(ending);
    for (size_t at = 0; at < stem; at++) {
        if (at > 0 && name[at - 1] != '.') continue;
        for (size_t i = 0; i < COUNT(LAYER_RULES); i++) {
            const name_rule *rule = &LAYER_RULES[i];
            const char *digits = "";
            int n_digits = 0;
            if (!matches(name + at, stem - at, to_paddle ? rule->hugging_face : rule->paddle,
                         &digits, &n_digits))
                continue;
            join(out, size, name, at, to_paddle ? rule->paddle : rule->hugging_face, digits,
                 n_digits, ending);
            return rule->transposed && strcmp(ending, ".weight") == 0;
        }
    }
    return false;
}

/* name ends with text, from a dot or the beginning on; *prefix is what stands before. */
static bool ends_as(const char *name, const char *text, size_t *prefix)
{
    size_t n = strlen(name), m = strlen(text);
    if (n < m || strcmp(name + n - m, text) != 0 || (n > m && name[n - m - 1] != '.')) return false;
    *prefix = n - m;
    return true;
}

bool paddle_name_of(const char *name, char *out, size_t n)
{
    size_t prefix;
    if (ends_as(name, "cls.predictions.bias", &prefix)) {
        snprintf(out, n, "%.*s%s", (int)prefix, name, DECODER_BIAS);
        return false;
    }
    return translate(name, true, out, n);
}

/* ---- reading ---- */

bool paddle_names_found(const ckpt *c)
{
    for (size_t i = 0; i < c->n_tensors; i++) {
        char other[NAME_BYTES_MAX];
        (void)translate(c->tensors[i].name, false, other, sizeof other);
        if (strstr(other, "encoder.layer.") && strcmp(other, c->tensors[i].name) != 0) return true;
    }
    return false;
}

/* "verbalizer.head.X" and what it is in the masked-LM head or the verbalizer; false: unknown. */
static bool translate_head(const ckpt *c, const char *name, char *out, size_t size, bool *transposed)
{
    const char *part = name + strlen(HEAD), *ending = strrchr(name, '.');
    bool with_transform = ckpt_find(c, HEAD "transform.weight") != NULL;
    *transposed = false;
    if (strcmp(part, "decoder.weight") == 0 || strcmp(part, "decoder_weight") == 0) {
        snprintf(out, size, "verbalizer.weight");
        return true;
    }
    /* Beside a decoder of its own the vocabulary's bias is still there, from the copied head. */
    bool is_copy = ckpt_find(c, HEAD "decoder.bias") != NULL;
    if (strcmp(part, "decoder_bias") == 0 || strcmp(part, "decoder.bias") == 0 ||
        strcmp(part, "bias") == 0) {
        bool own = strcmp(part, "decoder.bias") == 0 || !is_copy;
        snprintf(out, size, own              ? "verbalizer.bias"
                            : with_transform ? "cls.predictions.bias"
                                             : "lm_head.bias");
        return true;
    }
    for (size_t i = 0; ending && i < COUNT(VERBALIZER_HEADS); i++) {
        const char *stem = VERBALIZER_HEADS[i].paddle;
        const char *other = with_transform ? VERBALIZER_HEADS[i].with_transform
                                           : VERBALIZER_HEADS[i].with_dense;
        size_t n = strlen(stem);
        if (!other || strncmp(part, stem, n) != 0 || part + n != ending) continue;
        snprintf(out, size, "%s%s", other, ending);
        *transposed = i < 2 && strcmp(ending, ".weight") == 0;
        return true;
    }
    return false;
}

/* A decoder of nn.Linear, (hidden, vocabulary), as RoBERTa's was before PaddleNLP 2.6. */
static bool is_old_decoder(const ckpt *c, const ckpt_tensor *t)
{
    const ckpt_tensor *dense = ckpt_find(c, "lm_head.dense.weight");
    size_t prefix;
    return ends_as(t->name, "lm_head.decoder.weight", &prefix) && t->rank == 2 && dense &&
           dense->rank == 2 && t->shape[0] == dense->shape[0] && t->shape[1] != t->shape[0];
}

/* Its new name to out, which stays empty where it keeps the old one. */
static void rename_one(const ckpt *c, const ckpt_tensor *t, char *out, size_t size,
                       bool *transposed)
{
    size_t prefix;
    if (strlen(t->name) >= NAME_BYTES_MAX / 2) return; /* longer than any that a rule is for */
    if (strncmp(t->name, HEAD, strlen(HEAD)) == 0) {
        if (!translate_head(c, t->name, out, size, transposed)) snprintf(out, size, "%s", t->name);
        return;
    }
    for (size_t i = 0; i < COUNT(WHOLE_NAMES); i++) {
        if (!ends_as(t->name, WHOLE_NAMES[i].paddle, &prefix)) continue;
        snprintf(out, size, "%.*s%s", (int)prefix, t->name, WHOLE_NAMES[i].hugging_face);
        return;
    }
    *transposed = translate(t->name, false, out, size) || is_old_decoder(c, t);
}

/* All new names first, then all at once: the rules look names up. */
static cloze_status rename_all(ckpt *c, const char **names, bool *transposed, cloze_error *err)
{
    hash_map index;
    for (size_t i = 0; i < c->n_tensors; i++) {
        char name[NAME_BYTES_MAX] = "";
        rename_one(c, &c->tensors[i], name, sizeof name, &transposed[i]);
        names[i] = name[0] ? arena_strdup(&c->arena, name) : c->tensors[i].name;
        if (!names[i]) CLOZE_FAIL(err, MEMORY, "out of memory for the names of tensors");
    }
    CLOZE_TRY(hash_map_init(&index, 2 * c->n_tensors, err));
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < c->n_tensors && status == CLOZE_OK; i++) {
        if (hash_map_get(&index, names[i], strlen(names[i]), -1) >= 0)
            status = error_set(err, CLOZE_ERR_MODEL, "%s: tensor '%s' is there twice, as '%s' too",
                               c->tensors[i].file, names[i], c->tensors[i].name);
        else
            status = hash_map_put(&index, names[i], strlen(names[i]), (int32_t)i, err);
    }
    if (status != CLOZE_OK) {
        hash_map_deinit(&index);
        return status;
    }
    for (size_t i = 0; i < c->n_tensors; i++) {
        c->tensors[i].name = names[i];
        if (transposed[i]) ckpt_transpose(&c->tensors[i]);
    }
    hash_map_deinit(&c->index);
    c->index = index;
    return CLOZE_OK;
}

cloze_status paddle_names_apply(ckpt *c, cloze_error *err)
{
    const char **names;
    bool *transposed;
    if (!paddle_names_found(c)) return CLOZE_OK;
    MEM_NEW(err, names, c->n_tensors);
    transposed = mem_calloc(c->n_tensors, sizeof *transposed);
    cloze_status status = transposed ? rename_all(c, names, transposed, err)
                                     : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    mem_free(names);
    mem_free(transposed);
    return status;
}

cloze_status ckpt_open_model(const char *path, ckpt **out, cloze_error *err)
{
    CLOZE_TRY(ckpt_open(path, out, err));
    cloze_status status = paddle_names_apply(*out, err);
    if (status == CLOZE_OK) return CLOZE_OK;
    ckpt_close(*out);
    *out = NULL;
    return status;
}
