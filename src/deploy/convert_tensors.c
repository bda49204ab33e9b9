/* From the tensors of a source to those of a target, and the comparison of both. */
#include "deploy/convert_tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/name_map.h"
#include "ckpt/paddle_names.h"

#define NAME_BYTES 512
#define NAME_BYTES_MAX (NAME_BYTES / 2) /* of a source's name: other spellings are hardly longer */
#define EXTRA_TENSORS 4 /* a decoder and biases under a second name */

static bool ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

static const ckpt_tensor *find_ending(const ckpt *c, const char *ending) {
    for (size_t i = 0; i < ckpt_count(c); i++)
        if (ends_with(ckpt_at(c, i)->name, ending)) return ckpt_at(c, i);
    return NULL;
}

static cloze_status read_raw(const ckpt_tensor *t, void **out, cloze_error *err) {
    *out = mem_alloc(t->bytes);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory for tensor '%s'", t->name);
    return ckpt_read_raw(t, *out, t->bytes, err);
}

static cloze_status same_values(const ckpt_tensor *a, const ckpt_tensor *b, bool *same,
                                cloze_error *err) {
    void *left = NULL, *right = NULL;
    *same = false;
    if (a->dtype != b->dtype || a->bytes != b->bytes) return CLOZE_OK;
    cloze_status status = read_raw(a, &left, err);
    if (status == CLOZE_OK) status = read_raw(b, &right, err);
    if (status == CLOZE_OK) *same = memcmp(left, right, a->bytes) == 0;
    mem_free(left);
    mem_free(right);
    return status;
}

/* ---- which tensors ---- */

/* The owner of a tensor that may be stored a second time: a tied decoder's matrix, its bias. */
static const ckpt_tensor *first_copy(const ckpt *c, const model_config *config,
                                     const ckpt_tensor *t) {
    bool tied = true;
    json_get_bool(config->json, "tie_word_embeddings", &tied, NULL);
    if (ends_with(t->name, "cls.predictions.decoder.weight") ||
        ends_with(t->name, "lm_head.decoder.weight"))
        return tied ? find_ending(c, "embeddings.word_embeddings.weight") : NULL;
    if (ends_with(t->name, "cls.predictions.decoder.bias"))
        return find_ending(c, "cls.predictions.bias");
    if (ends_with(t->name, "lm_head.decoder.bias")) return find_ending(c, "lm_head.bias");
    return NULL;
}

static bool belongs_to_prompt(const char *name) {
    return strncmp(name, "verbalizer.", 11) == 0 || strncmp(name, "template.", 9) == 0;
}

/* PaddleNLP's few-shot runs: the encoder under "plm.", the head in the verbalizer. */
static void paddle_run_name(const char *name, char *out, size_t n) {
    static const char *const HEADS[] = {"cls.predictions.", "lm_head."};
    if (strcmp(name, "verbalizer.weight") == 0 || strcmp(name, "verbalizer.bias") == 0) {
        snprintf(out, n, "verbalizer.head.decoder%s", strchr(name, '.'));
        return;
    }
    for (int i = 0; i < 2; i++) {
        size_t len = strlen(HEADS[i]);
        if (strncmp(name, HEADS[i], len) != 0) continue;
        snprintf(out, n, "verbalizer.head.%s", name + len);
        return;
    }
    snprintf(out, n, "plm.%s", name);
}

/* Adds a view of t that is called `name` in Hugging Face's way. */
static cloze_status add(convert_plan *p, const convert_target *target, const ckpt_tensor *t,
                        const char *name, cloze_error *err) {
    char written[NAME_BYTES], in_run[NAME_BYTES + 32];
    convert_entry *e = &p->entries[p->n];
    *e = (convert_entry){.original = t, .view = *t, .dtype = target->dtype};
    bool turned = false;
    if (target->keep_dtype || !dtype_is_float(t->dtype)) e->dtype = t->dtype;
    snprintf(written, sizeof written, "%s", name);
    if (target->format == CONVERT_PADDLE) turned = paddle_name_of(name, written, sizeof written);
    snprintf(in_run, sizeof in_run, "%s", written);
    if (target->soft_run) paddle_run_name(written, in_run, sizeof in_run);
    if (turned) ckpt_transpose(&e->view);
    e->written = arena_strdup(&p->memory, in_run);
    e->name = arena_strdup(&p->memory, name);
    if (!e->written || !e->name) CLOZE_FAIL(err, MEMORY, "out of memory for tensor names");
    p->n++;
    return CLOZE_OK;
}

static bool has(const convert_plan *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->entries[i].name, name) == 0) return true;
    return false;
}

/* A vector of n zeros that the source does not have. */
static cloze_status add_zeros(convert_plan *p, const convert_target *target, const char *name,
                              int64_t n, cloze_error *err) {
    ckpt_tensor *zeros = arena_alloc(&p->memory, sizeof *zeros);
    float *values = arena_alloc(&p->memory, (size_t)n * sizeof *values);
    if (!zeros || !values) CLOZE_FAIL(err, MEMORY, "out of memory for %s", name);
    *zeros = (ckpt_tensor){.name = name,
                           .dtype = DTYPE_F32,
                           .rank = 1,
                           .count = n,
                           .data = values,
                           .bytes = (size_t)n * sizeof *values,
                           .contiguous = true,
                           .aligned = true};
    for (int i = 0; i < CKPT_MAX_RANK; i++) zeros->shape[i] = 1;
    zeros->shape[0] = n;
    zeros->stride[0] = 1;
    return add(p, target, zeros, name, err);
}

/* A soft verbalizer's matrix, and its bias: PaddleNLP has one always, ours may have none. */
static cloze_status add_verbalizer(convert_plan *p, const ckpt *prompt,
                                   const convert_target *target, cloze_error *err) {
    const ckpt_tensor *matrix = ckpt_find(prompt, "verbalizer.weight");
    const ckpt_tensor *bias = ckpt_find(prompt, "verbalizer.bias");
    if (!matrix || matrix->rank != 2)
        CLOZE_FAIL(err, MODEL, "the run's soft verbalizer has no matrix verbalizer.weight");
    CLOZE_TRY(add(p, target, matrix, matrix->name, err));
    if (bias) return add(p, target, bias, bias->name, err);
    return add_zeros(p, target, "verbalizer.bias", matrix->shape[0], err);
}

/* PaddleNLP's runs up to 2.4.0 have no bias of the vocabulary, which a soft verbalizer never reads;
 * a masked-LM head has one. */
static cloze_status add_missing_bias(convert_plan *p, const ckpt *c, const model_config *config,
                                     const convert_target *target, cloze_error *err) {
    static const char *const HEADS[][3] = {
        {"cls.predictions.transform.dense.weight", "cls.predictions.bias",
         "cls.predictions.decoder.bias"},
        {"lm_head.dense.weight", "lm_head.bias", "lm_head.decoder.bias"},
    };
    for (int i = 0; i < 2; i++)
        if (find_ending(c, HEADS[i][0]) && !find_ending(c, HEADS[i][1]) &&
            !find_ending(c, HEADS[i][2]))
            CLOZE_TRY(add_zeros(p, target, HEADS[i][1], config->vocab_size, err));
    return CLOZE_OK;
}

/* What PaddleNLP stores a second time and its loader would miss. */
static cloze_status add_copies(convert_plan *p, const ckpt *c, const model_config *config,
                               const convert_target *target, cloze_error *err) {
    static const struct {
        const char *owner, *copy, *head;
    } COPIES[] = {
        {"cls.predictions.bias", "cls.predictions.decoder.bias", "cls.predictions."},
        {"lm_head.bias", "lm_head.decoder.bias", "lm_head."},
        {"embeddings.word_embeddings.weight", "cls.predictions.decoder.weight",
         "cls.predictions.transform.dense.weight"},
        {"embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.dense.weight"},
    };
    bool tied = true;
    json_get_bool(config->json, "tie_word_embeddings", &tied, NULL);
    for (size_t i = 0; i < EXTRA_TENSORS; i++) {
        const ckpt_tensor *owner = find_ending(c, COPIES[i].owner);
        if (!owner || has(p, COPIES[i].copy) || (i >= 2 && !tied)) continue;
        if (i >= 2 && !find_ending(c, COPIES[i].head)) continue;
        CLOZE_TRY(add(p, target, owner, COPIES[i].copy, err));
    }
    return CLOZE_OK;
}

static cloze_status add_all(convert_plan *p, const ckpt *c, const model_config *config,
                            const convert_target *target, cloze_error *err) {
    bool paddle = target->format == CONVERT_PADDLE;
    for (size_t i = 0; i < ckpt_count(c); i++) {
        const ckpt_tensor *t = ckpt_at(c, i);
        const ckpt_tensor *owner = paddle ? NULL : first_copy(c, config, t);
        char name[NAME_BYTES];
        bool copy = false;
        if (belongs_to_prompt(t->name)) continue; /* prompt.safetensors, or added by the caller */
        if (strlen(t->name) > NAME_BYTES_MAX)
            CLOZE_FAIL(err, MODEL, "%s: tensor '%.60s...' has a name of more than %d bytes", t->file,
                       t->name, NAME_BYTES_MAX);
        if (owner && owner != t) CLOZE_TRY(same_values(owner, t, &copy, err));
        if (copy) continue;
        name_map_plain_name(t->name, name, sizeof name);
        CLOZE_TRY(add(p, target, t, name, err));
    }
    CLOZE_TRY(add_missing_bias(p, c, config, target, err));
    return paddle && !target->soft_run ? add_copies(p, c, config, target, err) : CLOZE_OK;
}

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const convert_entry *)a)->written, ((const convert_entry *)b)->written);
}

cloze_status convert_plan_make(const ckpt *source, const ckpt *prompt, const model_config *config,
                               const convert_target *target, convert_plan *out, cloze_error *err) {
    size_t room = ckpt_count(source) + EXTRA_TENSORS + 2; /* and the verbalizer's */
    *out = (convert_plan){0};
    arena_init(&out->memory, 16 << 10);
    MEM_NEW(err, out->items, room);
    MEM_NEW(err, out->entries, room);
    CLOZE_TRY(add_all(out, source, config, target, err));
    if (target->soft_run) CLOZE_TRY(add_verbalizer(out, prompt, target, err));
    qsort(out->entries, out->n, sizeof *out->entries, compare_entries);
    for (size_t i = 0; i < out->n; i++) {
        const convert_entry *e = &out->entries[i];
        out->items[i] = (ckpt_item){
            .name = e->written, .dtype = e->dtype, .rank = e->view.rank, .source = &e->view};
        memcpy(out->items[i].shape, e->view.shape, sizeof out->items[i].shape);
    }
    return CLOZE_OK;
}

void convert_plan_deinit(convert_plan *p) {
    mem_free(p->entries);
    mem_free(p->items);
    arena_deinit(&p->memory);
    *p = (convert_plan){0};
}

/* ---- comparing ---- */

/* The source's values in the item's dtype, as they must stand in the file read back (whose view has
 * Hugging Face's layout again). */
static cloze_status expected_values(const ckpt_tensor *t, cloze_dtype dtype, void **out,
                                    cloze_error *err) {
    if (t->dtype == dtype) return read_raw(t, out, err);
    float *floats = mem_alloc((size_t)t->count * sizeof *floats);
    *out = mem_alloc((size_t)t->count * dtype_size(dtype));
    cloze_status status = floats && *out ? ckpt_read_f32(t, floats, (size_t)t->count, err)
                                         : error_set(err, CLOZE_ERR_MEMORY,
                                                     "out of memory for tensor '%s'", t->name);
    if (status == CLOZE_OK) {
        (void)dtype_from_f32(*out, floats, dtype, (size_t)t->count);
        if (dtype == DTYPE_F16)
            for (int64_t i = 0; i < t->count && status == CLOZE_OK; i++)
                if (isfinite(floats[i]) && fabsf(floats[i]) >= 65520.0f)
                    status = error_set(err, CLOZE_ERR_MODEL,
                                       "tensor '%s' has %g, which float16 cannot hold; use bfloat16",
                                       t->name, (double)floats[i]);
    }
    mem_free(floats);
    return status;
}

static bool same_shape(const ckpt_tensor *a, const ckpt_tensor *b) {
    return a->rank == b->rank && memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static cloze_status verify_one(const convert_entry *e, const ckpt_tensor *read,
                               cloze_error *err) {
    void *want = NULL, *got = NULL;
    if (!read || read->dtype != e->dtype || !same_shape(e->original, read))
        CLOZE_FAIL(err, INTERNAL, "tensor '%s' is not in the output, or in another form", e->name);
    cloze_status status = expected_values(e->original, e->dtype, &want, err);
    if (status == CLOZE_OK) status = read_raw(read, &got, err);
    if (status == CLOZE_OK && memcmp(want, got, read->bytes) != 0)
        status = error_set(err, CLOZE_ERR_INTERNAL, "tensor '%s' is not what was to be written",
                           e->name);
    mem_free(want);
    mem_free(got);
    return status;
}

static const ckpt_tensor *find_plain(const ckpt *c, const char *name) {
    char plain[NAME_BYTES];
    const ckpt_tensor *exact = ckpt_find(c, name);
    if (exact) return exact;
    for (size_t i = 0; i < ckpt_count(c); i++) {
        name_map_plain_name(ckpt_at(c, i)->name, plain, sizeof plain);
        if (strcmp(plain, name) == 0) return ckpt_at(c, i);
    }
    return NULL;
}

cloze_status convert_plan_verify(const convert_plan *p, const char *dir, cloze_error *err) {
    ckpt *c;
    CLOZE_TRY(ckpt_open_model(dir, &c, err));
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < p->n && status == CLOZE_OK; i++)
        status = verify_one(&p->entries[i], find_plain(c, p->entries[i].name), err);
    if (status == CLOZE_OK && ckpt_count(c) != p->n)
        status = error_set(err, CLOZE_ERR_INTERNAL, "%s has %zu tensors instead of %zu", dir,
                           ckpt_count(c), p->n);
    ckpt_close(c);
    return status;
}
