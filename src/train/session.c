/* Running a classifier over packed batches. */
#include "train/session.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "backend/profile.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/options.h"

/* profile: measured, and with `trace` call by call. */
static cloze_status open_device(session *s, const char *device, int n_threads, bool bf16,
                                bool profile, bool trace, cloze_error *err) {
    memset(s, 0, sizeof *s);
    if (n_threads > 0)
        omp_set_num_threads(n_threads); /* of this thread: encoding keeps to it too */
    const backend *b;
    CLOZE_TRY(backend_find(device, &b, err));
    CLOZE_TRY(backend_check(b, err));
    s->backend = profile ? &backend_profile : b;
    CLOZE_TRY(profile ? profile_device_open(b, 0, n_threads, trace, &s->device, err)
                      : b->device_open(0, n_threads, &s->device, err));
    tape_options o = {s->backend, s->device, bf16 ? DTYPE_BF16 : DTYPE_F32};
    return tape_create(&o, &s->tape, err);
}

cloze_status session_open(session *s, const char *device, int n_threads, bool bf16,
                          cloze_error *err) {
    return open_device(s, device, n_threads, bf16, false, false, err);
}

/* Before the work that is to be profiled: afterwards it would be late to tell. */
static cloze_status check_profile_file(const char *path, cloze_error *err) {
    if (!path) return CLOZE_OK;
    if (file_is_dir(path)) CLOZE_FAIL(err, IO, "%s: is a directory, not a file", path);
    char *dir = path_parent(path);
    if (!dir) CLOZE_FAIL(err, MEMORY, "out of memory");
    bool is_dir = file_is_dir(dir);
    mem_free(dir);
    if (!is_dir) CLOZE_FAIL(err, IO, "%s: cannot create: there is no such directory", path);
    return CLOZE_OK;
}

cloze_status session_open_options(session *s, const options *o, cloze_error *err) {
    CLOZE_TRY(check_profile_file(o->profile_file, err));
    return open_device(s, o->device, (int)o->num_threads, o->bf16, o->profile || o->profile_file,
                       o->profile_file != NULL, err);
}

static void tell_lines(const char *text, const cloze_callbacks *callbacks) {
    while (*text) {
        size_t n = strcspn(text, "\n");
        log_line(callbacks, CLOZE_LOG_INFO, "%.*s", (int)n, text);
        text += n + (text[n] != 0);
    }
}

cloze_status session_write_profile(const session *s, const options *o,
                                   const cloze_callbacks *callbacks, cloze_error *err) {
    buf b;
    if (s->backend != &backend_profile || !s->device) return CLOZE_OK;
    buf_init(&b, (size_t)1 << 30);
    profile_write_table(s->device, &b);
    if (buf_ok(&b)) tell_lines(b.data, callbacks);
    buf_clear(&b);
    cloze_status status = CLOZE_OK;
    if (o->profile_file) {
        profile_write_trace(s->device, &b);
        status = buf_ok(&b) ? file_write_atomic(o->profile_file, b.data, b.len, err)
                            : error_set(err, CLOZE_ERR_MEMORY, "out of memory for the profile");
        if (status == CLOZE_OK)
            log_line(callbacks, CLOZE_LOG_INFO,
                     "The profile is in %s (open it in chrome://tracing or ui.perfetto.dev)",
                     o->profile_file);
    }
    buf_deinit(&b);
    return status;
}

void session_close(session *s) {
    tape_destroy(s->tape);
    if (s->backend && s->device) s->backend->device_close(s->device);
    for (int i = 0; i < SESSION_MAX_VIEWS; i++) packed_batch_deinit(&s->batches[i]);
    memset(s, 0, sizeof *s);
}

cloze_status encoded_views_build(const classifier *c, const example *examples, int64_t n,
                                 encoded_views *out, cloze_error *err) {
    memset(out, 0, sizeof *out);
    if (classifier_n_views(c) > SESSION_MAX_VIEWS)
        CLOZE_FAIL(err, DATA,
                   "the label words have %d different lengths in tokens; at most %d are possible",
                   classifier_n_views(c), SESSION_MAX_VIEWS);
    out->n = n;
    for (int32_t i = 0; i < classifier_n_views(c); i++) {
        cloze_status status =
            encoded_set_build(classifier_encoder(c, i), examples, n, &out->sets[i], err);
        if (status == CLOZE_OK) status = classifier_check_encoded(c, &out->sets[i], examples, err);
        if (status != CLOZE_OK) {
            encoded_views_deinit(out);
            return status;
        }
        out->n_views = i + 1;
    }
    return CLOZE_OK;
}

void encoded_views_deinit(encoded_views *v) {
    for (int32_t i = 0; i < SESSION_MAX_VIEWS; i++) encoded_set_deinit(&v->sets[i]);
    memset(v, 0, sizeof *v);
}

cloze_status session_fill(session *s, const encoded_views *v, const batch_plan *plan, int64_t i,
                          const packed_batch *views[SESSION_MAX_VIEWS], cloze_error *err) {
    for (int32_t k = 0; k < v->n_views; k++) {
        CLOZE_TRY(packed_batch_fill(&s->batches[k], &v->sets[k], plan, i, err));
        views[k] = &s->batches[k];
    }
    return CLOZE_OK;
}

void classifier_tell_cut(const classifier *c, const char *what, int64_t n_cut, int64_t n,
                         int64_t n_tokens) {
    const classifier_options *o = classifier_get_options(c);
    if (n_cut > 0)
        log_line(
            o->callbacks, CLOZE_LOG_WARN,
            "%s: %lld of %lld texts were cut to fit --max_seq_length %d (%lld tokens left out)",
            what, (long long)n_cut, (long long)n, o->max_seq_length, (long long)n_tokens);
}

static cloze_status predict_batch(session *s, classifier *c, const packed_batch *const views[],
                                  float *logits, float *scratch, cloze_error *err) {
    classifier_run run = {0};
    tape_begin_step(s->tape, false, 0, NULL, 0);
    var *scores = classifier_logits(s->tape, c, views, &run);
    CLOZE_TRY(tape_status(s->tape, err));
    CLOZE_TRY(tape_read(s->tape, scores, scratch, err));
    backend_mark(s->backend, s->device, PHASE_OUTSIDE);
    int32_t n_labels = classifier_labels(c)->n;
    for (int64_t i = 0; i < (int64_t)views[0]->n_examples * n_labels; i++) {
        if (isfinite(scratch[i])) continue;
        return classifier_fail_nonfinite(c, scratch[i], err);
    }
    for (int32_t b = 0; b < views[0]->n_examples; b++)
        memcpy(logits + (int64_t)views[0]->example_ids[b] * n_labels,
               scratch + (int64_t)b * n_labels, (size_t)n_labels * sizeof *logits);
    return CLOZE_OK;
}

cloze_status session_predict(session *s, classifier *c, const encoded_views *v, int32_t batch_size,
                             float *logits, progress *p, cloze_error *err) {
    batch_plan plan = {0};
    batch_options o = {.batch_size = batch_size};
    const packed_batch *views[SESSION_MAX_VIEWS];
    float *scratch; /* (batch,C) */
    int64_t before = p ? p->state.done : 0;
    MEM_NEW(err, scratch, (int64_t)batch_size * classifier_labels(c)->n);
    cloze_status status = batch_plan_by_length(&v->sets[0], &o, &plan, err);
    for (int64_t i = 0; i < plan.n_batches && status == CLOZE_OK; i++) {
        status = session_fill(s, v, &plan, i, views, err);
        if (status == CLOZE_OK) status = predict_batch(s, c, views, logits, scratch, err);
        if (!p) continue;
        progress_update(p, before + plan.starts[i + 1]);
        if (status == CLOZE_OK && i + 1 < plan.n_batches && log_interrupted(p->cb))
            status =
                error_set(err, CLOZE_ERR_INTERRUPTED, "interrupted after %lld of %lld examples",
                          (long long)plan.starts[i + 1], (long long)plan.n);
    }
    batch_plan_deinit(&plan);
    mem_free(scratch);
    return status;
}
