/*
 * cloze_predictor: a trained run that any number of threads use at a time. The classifier is shared
 * and immutable; each call borrows a session (device, tape, batch storage) from a pool, which grows
 * to the largest number of calls that were ever in progress at once.
 */
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "train/metrics.h"
#include "train/session.h"

#define BATCH_SIZE 32

typedef struct pooled_session {
    session s;
    struct pooled_session *next;
} pooled_session;

struct cloze_predictor {
    classifier *c;
    bool bf16;
    int num_threads;
    pthread_mutex_t lock; /* of idle */
    pooled_session *idle;
};

cloze_status cloze_predictor_open(const char *run_dir, const cloze_predictor_options *options,
                                  cloze_predictor **out, cloze_error *err) {
    cloze_predictor *p;
    if (!out) CLOZE_FAIL(err, USAGE, "cloze_predictor_open: out is NULL");
    *out = NULL;
    if (!run_dir) CLOZE_FAIL(err, USAGE, "cloze_predictor_open: run_dir is NULL");
    if (options && options->num_threads < 0)
        CLOZE_FAIL(err, USAGE, "cloze_predictor_open: num_threads is %d", options->num_threads);
    MEM_NEW(err, p, 1);
    p->bf16 = options && options->bf16;
    p->num_threads = options ? options->num_threads : 0;
    cloze_status status = classifier_open(run_dir, NULL, &p->c, err);
    if (status == CLOZE_OK && pthread_mutex_init(&p->lock, NULL) != 0)
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for a lock");
    if (status != CLOZE_OK) {
        classifier_destroy(p->c);
        mem_free(p);
        return status;
    }
    *out = p;
    return CLOZE_OK;
}

void cloze_predictor_close(cloze_predictor *p) {
    if (!p) return;
    while (p->idle) {
        pooled_session *next = p->idle->next;
        session_close(&p->idle->s);
        mem_free(p->idle);
        p->idle = next;
    }
    pthread_mutex_destroy(&p->lock);
    classifier_destroy(p->c);
    mem_free(p);
}

int32_t cloze_predictor_label_count(const cloze_predictor *p) {
    return p ? classifier_labels(p->c)->n : 0;
}

const char *cloze_predictor_label(const cloze_predictor *p, int32_t i) {
    if (!p || i < 0 || i >= classifier_labels(p->c)->n) return NULL;
    return classifier_labels(p->c)->entries[i].name;
}

/* ---- sessions ---- */

static cloze_status borrow_session(cloze_predictor *p, pooled_session **out, cloze_error *err) {
    pthread_mutex_lock(&p->lock);
    pooled_session *s = p->idle;
    if (s) p->idle = s->next;
    pthread_mutex_unlock(&p->lock);
    *out = s;
    if (s) return CLOZE_OK;
    MEM_NEW(err, s, 1);
    cloze_status status = session_open(&s->s, "cpu", p->num_threads, p->bf16, err);
    if (status != CLOZE_OK) {
        session_close(&s->s);
        mem_free(s);
        return status;
    }
    *out = s;
    return CLOZE_OK;
}

static void return_session(cloze_predictor *p, pooled_session *s) {
    pthread_mutex_lock(&p->lock);
    s->next = p->idle;
    p->idle = s;
    pthread_mutex_unlock(&p->lock);
}

/* ---- prediction ---- */

static cloze_status check_utf8(const char *caller, const char *array, size_t i, const char *text,
                               size_t n, cloze_error *err) {
    size_t valid = utf8_valid_prefix(text, n);
    if (valid < n)
        CLOZE_FAIL(err, DATA, "%s: %s[%zu] is not UTF-8 at byte %zu", caller, array, i, valid);
    return CLOZE_OK;
}

static cloze_status make_examples(const char *caller, const char *const *texts,
                                  const char *const *texts_b, size_t n, example **out,
                                  cloze_error *err) {
    example *examples;
    MEM_NEW(err, examples, n);
    *out = examples;
    for (size_t i = 0; i < n; i++) {
        const char *pair = texts_b ? texts_b[i] : NULL;
        if (!texts[i]) CLOZE_FAIL(err, USAGE, "%s: texts[%zu] is NULL", caller, i);
        examples[i] = (example){.text = texts[i],
                                .text_len = strlen(texts[i]),
                                .text_b = pair,
                                .text_b_len = pair ? strlen(pair) : 0,
                                .label = -1,
                                .line = (int64_t)i + 1};
        CLOZE_TRY(check_utf8(caller, "texts", i, texts[i], examples[i].text_len, err));
        if (pair) CLOZE_TRY(check_utf8(caller, "texts_b", i, pair, examples[i].text_b_len, err));
    }
    return CLOZE_OK;
}

/* In place: logits (n,C) to probabilities. */
static cloze_status to_probabilities(float *values, size_t n, int32_t n_labels, cloze_error *err) {
    double *row;
    MEM_NEW(err, row, n_labels);
    for (size_t i = 0; i < n; i++, values += n_labels) {
        metrics_softmax(values, n_labels, row);
        for (int32_t l = 0; l < n_labels; l++) values[l] = (float)row[l];
    }
    mem_free(row);
    return CLOZE_OK;
}

/* Probabilities (n,C) of encoded texts. */
static cloze_status run_encoded(cloze_predictor *p, const encoded_views *views, size_t n,
                                float *probabilities, cloze_error *err) {
    pooled_session *s;
    CLOZE_TRY(borrow_session(p, &s, err));
    cloze_status status =
        session_predict(&s->s, p->c, views, BATCH_SIZE, probabilities, NULL, err);
    return_session(p, s);
    CLOZE_TRY(status);
    return to_probabilities(probabilities, n, classifier_labels(p->c)->n, err);
}

static cloze_status encode_texts(cloze_predictor *p, const char *caller, const char *const *texts,
                                 const char *const *texts_b, size_t n, encoded_views *views,
                                 cloze_error *err) {
    example *examples = NULL;
    if (!texts) CLOZE_FAIL(err, USAGE, "%s: texts is NULL", caller);
    if (n > INT32_MAX) CLOZE_FAIL(err, USAGE, "%s: %zu texts in one call", caller, n);
    cloze_status status = make_examples(caller, texts, texts_b, n, &examples, err);
    if (status == CLOZE_OK)
        status = encoded_views_build(p->c, examples, (int64_t)n, views, err);
    mem_free(examples);
    return status;
}

cloze_status cloze_predictor_run(cloze_predictor *p, const char *const *texts,
                                 const char *const *texts_b, size_t n, float *probabilities,
                                 cloze_error *err) {
    encoded_views views;
    if (!p) CLOZE_FAIL(err, USAGE, "cloze_predictor_run: the predictor is NULL");
    if (n == 0) return CLOZE_OK;
    if (!probabilities) CLOZE_FAIL(err, USAGE, "cloze_predictor_run: probabilities is NULL");
    CLOZE_TRY(encode_texts(p, "cloze_predictor_run", texts, texts_b, n, &views, err));
    cloze_status status = run_encoded(p, &views, n, probabilities, err);
    encoded_views_deinit(&views);
    return status;
}

/* ---- token ids ---- */

int32_t cloze_predictor_inputs_per_text(const cloze_predictor *p) {
    return p ? classifier_n_views(p->c) : 0;
}

/* One block: the inputs, then all their numbers. */
static cloze_status copy_inputs(const encoded_views *v, cloze_input **out, cloze_error *err) {
    int64_t n_inputs = v->n * v->n_views, n_ints = 0;
    for (int32_t k = 0; k < v->n_views; k++)
        n_ints += 3 * v->sets[k].offsets[v->n] + v->sets[k].mask_offsets[v->n];
    size_t bytes = (size_t)n_inputs * sizeof **out + (size_t)n_ints * sizeof(int32_t);
    cloze_input *inputs = mem_alloc(bytes);
    if (!inputs) CLOZE_FAIL(err, MEMORY, "out of memory for %lld inputs", (long long)n_inputs);
    int32_t *ints = (int32_t *)(inputs + n_inputs);
    for (int64_t i = 0; i < n_inputs; i++) {
        const encoded_set *set = &v->sets[i % v->n_views];
        int64_t text = i / v->n_views, first = set->offsets[text],
                first_mask = set->mask_offsets[text];
        cloze_input *in = &inputs[i];
        in->n_tokens = (int32_t)(set->offsets[text + 1] - first);
        in->n_masks = (int32_t)(set->mask_offsets[text + 1] - first_mask);
        const struct {
            const int32_t **to;
            const int32_t *from;
            int32_t n;
        } arrays[] = {{&in->input_ids, set->input_ids + first, in->n_tokens},
                      {&in->token_type_ids, set->token_type_ids + first, in->n_tokens},
                      {&in->position_ids, set->position_ids + first, in->n_tokens},
                      {&in->masked_positions, set->masked_positions + first_mask, in->n_masks}};
        for (size_t a = 0; a < sizeof arrays / sizeof *arrays; a++) {
            *arrays[a].to = arrays[a].n ? ints : NULL;
            if (arrays[a].n) memcpy(ints, arrays[a].from, (size_t)arrays[a].n * sizeof *ints);
            ints += arrays[a].n;
        }
    }
    *out = inputs;
    return CLOZE_OK;
}

cloze_status cloze_predictor_encode(cloze_predictor *p, const char *const *texts,
                                    const char *const *texts_b, size_t n, cloze_input **inputs,
                                    cloze_error *err) {
    encoded_views views;
    if (!p || !inputs)
        CLOZE_FAIL(err, USAGE, "cloze_predictor_encode: %s is NULL", p ? "inputs" : "predictor");
    CLOZE_TRY(encode_texts(p, "cloze_predictor_encode", texts, texts_b, n, &views, err));
    cloze_status status = copy_inputs(&views, inputs, err);
    encoded_views_deinit(&views);
    return status;
}

void cloze_inputs_free(cloze_input *inputs) { mem_free(inputs); }

/* values[0..n) are in [0, limit); values NULL passes. */
static cloze_status check_range(const char *what, size_t input, const int32_t *values, int32_t n,
                                int64_t limit, cloze_error *err) {
    for (int32_t i = 0; values && i < n; i++)
        if (values[i] < 0 || values[i] >= limit)
            CLOZE_FAIL(err, DATA, "input %zu: %s %d is %d, but it must be in 0..%lld", input, what, i,
                       values[i], (long long)limit - 1);
    return CLOZE_OK;
}

static cloze_status check_input(const cloze_predictor *p, const cloze_input *in, size_t i,
                                cloze_error *err) {
    const model_config *config = model_get_config(classifier_model(p->c));
    int32_t view = (int32_t)(i % (size_t)classifier_n_views(p->c));
    int32_t n_masks = input_encoder_num_masks(classifier_encoder(p->c, view));
    int64_t positions = model_max_length(classifier_model(p->c));
    if (!in->input_ids || in->n_tokens <= 0) CLOZE_FAIL(err, DATA, "input %zu: it has no tokens", i);
    if (in->n_tokens > positions)
        CLOZE_FAIL(err, DATA, "input %zu: it has %d tokens, but the model has %lld positions", i,
                   in->n_tokens, (long long)positions);
    if (in->n_masks != n_masks || (n_masks && !in->masked_positions))
        CLOZE_FAIL(err, DATA, "input %zu: it has %d masks; this run needs %d", i,
                   in->masked_positions ? in->n_masks : 0, n_masks);
    CLOZE_TRY(check_range("token", i, in->input_ids, in->n_tokens, config->vocab_size, err));
    if (config->type_vocab_size > 0)
        CLOZE_TRY(check_range("token type", i, in->token_type_ids, in->n_tokens,
                              config->type_vocab_size, err));
    CLOZE_TRY(check_range("position", i, in->position_ids, in->n_tokens, positions, err));
    return check_range("mask", i, in->masked_positions, in->n_masks, in->n_tokens, err);
}

/* The set of view k of n texts. It is the caller's also after a failure. */
static cloze_status set_from_inputs(const cloze_input *inputs, size_t n, int32_t n_views, int32_t k,
                                    encoded_set *set, cloze_error *err) {
    int64_t n_tokens = 0, n_masks = 0;
    for (size_t i = 0; i < n; i++) {
        n_tokens += inputs[i * (size_t)n_views + (size_t)k].n_tokens;
        n_masks += inputs[i * (size_t)n_views + (size_t)k].n_masks;
    }
    set->n = (int64_t)n;
    CLOZE_TRY(encoded_set_reserve(set, set->n, n_tokens, n_masks, err));
    for (size_t i = 0; i < n; i++) {
        const cloze_input *in = &inputs[i * (size_t)n_views + (size_t)k];
        int64_t at = set->offsets[i];
        size_t bytes = (size_t)in->n_tokens * sizeof *in->input_ids;
        memcpy(set->input_ids + at, in->input_ids, bytes);
        if (in->token_type_ids) memcpy(set->token_type_ids + at, in->token_type_ids, bytes);
        for (int32_t t = 0; t < in->n_tokens; t++)
            set->position_ids[at + t] = in->position_ids ? in->position_ids[t] : t;
        if (in->n_masks)
            memcpy(set->masked_positions + set->mask_offsets[i], in->masked_positions,
                   (size_t)in->n_masks * sizeof *in->masked_positions);
        set->offsets[i + 1] = at + in->n_tokens;
        set->mask_offsets[i + 1] = set->mask_offsets[i] + in->n_masks;
        set->labels[i] = -1;
        if (in->n_tokens > set->longest) set->longest = in->n_tokens;
    }
    return CLOZE_OK;
}

cloze_status cloze_predictor_run_inputs(cloze_predictor *p, const cloze_input *inputs, size_t n,
                                        float *probabilities, cloze_error *err) {
    encoded_views views = {0};
    if (!p) CLOZE_FAIL(err, USAGE, "cloze_predictor_run_inputs: the predictor is NULL");
    if (n == 0) return CLOZE_OK;
    if (!inputs || !probabilities)
        CLOZE_FAIL(err, USAGE, "cloze_predictor_run_inputs: %s is NULL",
                   inputs ? "probabilities" : "inputs");
    if (n > INT32_MAX)
        CLOZE_FAIL(err, USAGE, "cloze_predictor_run_inputs: %zu texts in one call", n);
    int32_t n_views = classifier_n_views(p->c);
    for (size_t i = 0; i < n * (size_t)n_views; i++)
        CLOZE_TRY(check_input(p, &inputs[i], i, err));
    views.n = (int64_t)n;
    cloze_status status = CLOZE_OK;
    for (int32_t k = 0; k < n_views && status == CLOZE_OK; k++) {
        views.n_views = k + 1;
        status = set_from_inputs(inputs, n, n_views, k, &views.sets[k], err);
    }
    if (status == CLOZE_OK) status = run_encoded(p, &views, n, probabilities, err);
    encoded_views_deinit(&views);
    return status;
}
