/* Measuring calls: see profile.h. What is printed: profile_report.c. */
#include <string.h>

#include "backend/profile_internal.h"
#include "base/log.h"
#include "base/mem.h"

/* ---- what a call moves ---- */

/* The shapes that a call was given, from which its operations and bytes follow. */
typedef struct work {
    const tensor *first, *second; /* tensors in the order of the arguments */
    const tensor *weight;
    const attention_spec *attention;
    int64_t n;     /* numbers of a flat array */
    double bytes;  /* each tensor once */
    int n_read, n_changed; /* flat arrays of n numbers */
} work;

static double tensor_bytes(const tensor *t) {
    return (double)t->rows * (double)t->cols * (double)dtype_size(t->dtype);
}

static void note_tensor(work *w, const tensor *t) {
    if (!t || !t->data) return;
    if (!w->first)
        w->first = t;
    else if (!w->second)
        w->second = t;
    w->bytes += tensor_bytes(t);
}

static void note_weight(work *w, const weight *of) {
    w->weight = &of->t;
    w->bytes += tensor_bytes(&of->t);
}

static void note_attention(work *w, const attention_spec *spec) { w->attention = spec; }

static void note_inputs(work *w, const attention_inputs *in) {
    const tensor *all[] = {in->q, in->k, in->v, in->prefix_k, in->prefix_v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) note_tensor(w, all[i]);
}

static void note_grads(work *w, const attention_grads *g) {
    const tensor *all[] = {g->dq, g->dk, g->dv, g->dprefix_k, g->dprefix_v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) note_tensor(w, all[i]);
}

static void note_count(work *w, int64_t n) { w->n = n; }
static void note_read(work *w, const float *x) { w->n_read++; }
static void note_changed(work *w, float *x) { w->n_changed++; }
static void note_nothing(work *w, ...) {}

/* NOTE(a, b, ...): what each argument of a kernel means for the work, by its type. */
#define NOTE_ONE(x)                                                                                \
    _Generic((x),                                                                                  \
        tensor *: note_tensor,                                                                     \
        const tensor *: note_tensor,                                                               \
        weight *: note_weight,                                                                     \
        const weight *: note_weight,                                                               \
        const attention_spec *: note_attention,                                                    \
        const attention_inputs *: note_inputs,                                                     \
        const attention_grads *: note_grads,                                                       \
        int64_t: note_count,                                                                       \
        const float *: note_read,                                                                  \
        float *: note_changed,                                                                     \
        default: note_nothing)(&moved, x);
#define NOTE_1(x) NOTE_ONE(x)
#define NOTE_2(x, ...) NOTE_ONE(x) NOTE_1(__VA_ARGS__)
#define NOTE_3(x, ...) NOTE_ONE(x) NOTE_2(__VA_ARGS__)
#define NOTE_4(x, ...) NOTE_ONE(x) NOTE_3(__VA_ARGS__)
#define NOTE_5(x, ...) NOTE_ONE(x) NOTE_4(__VA_ARGS__)
#define NOTE_6(x, ...) NOTE_ONE(x) NOTE_5(__VA_ARGS__)
#define NOTE_7(x, ...) NOTE_ONE(x) NOTE_6(__VA_ARGS__)
#define NOTE_8(x, ...) NOTE_ONE(x) NOTE_7(__VA_ARGS__)
#define NOTE_9(x, ...) NOTE_ONE(x) NOTE_8(__VA_ARGS__)
#define NOTE_10(x, ...) NOTE_ONE(x) NOTE_9(__VA_ARGS__)
#define NOTE_11(x, ...) NOTE_ONE(x) NOTE_10(__VA_ARGS__)
#define NOTE_12(x, ...) NOTE_ONE(x) NOTE_11(__VA_ARGS__)
#define NOTE_13(x, ...) NOTE_ONE(x) NOTE_12(__VA_ARGS__)
#define NOTE_14(x, ...) NOTE_ONE(x) NOTE_13(__VA_ARGS__)
#define NOTE_PICK(a, b, c, d, e, f, g, h, i, j, k, l, m, n, name, ...) name
#define NOTE(...)                                                                                  \
    NOTE_PICK(__VA_ARGS__, NOTE_14, NOTE_13, NOTE_12, NOTE_11, NOTE_10, NOTE_9, NOTE_8, NOTE_7,    \
              NOTE_6, NOTE_5, NOTE_4, NOTE_3, NOTE_2, NOTE_1, )(__VA_ARGS__)

/* Sum over sequences of queries x keys (a causal query sees half of its own). */
static double attention_pairs(const attention_spec *s) {
    double pairs = 0;
    for (int32_t b = 0; b < s->n_seqs; b++) {
        double q = s->q_offsets[b + 1] - s->q_offsets[b];
        double kv = s->kv_offsets[b + 1] - s->kv_offsets[b];
        pairs += q * ((s->mask == ATTENTION_CAUSAL ? kv / 2 : kv) + s->n_prefix);
    }
    return pairs;
}

/* Floating-point operations of the kernels that are products; 0 for the others, which are bound by
 * memory. Attention: two products forward, five backward. An LSTM's step is a product with w_hh,
 * and backward two. */
static double count_flops(profile_kernel kernel, const work *w) {
    double rows = w->first ? (double)w->first->rows : 0;
    switch (kernel) {
    case PROFILE_linear_forward:
    case PROFILE_linear_backward_input:
    case PROFILE_lstm_forward:
        return 2 * rows * (double)w->weight->rows * (double)w->weight->cols;
    case PROFILE_lstm_backward:
        return 4 * rows * (double)w->weight->rows * (double)w->weight->cols;
    case PROFILE_linear_backward_weight:
        return 2 * rows * (double)w->first->cols * (double)w->second->cols;
    case PROFILE_attention_forward:
    case PROFILE_attention_backward:
        return (kernel == PROFILE_attention_forward ? 4 : 10) * attention_pairs(w->attention) *
               w->attention->n_heads * w->attention->head_dim;
    default: return 0;
    }
}

/* ---- adding up ---- */

static profile_row *row_find(backend_device *d, profile_kernel kernel, const work *w) {
    int64_t m = 0, k = 0;
    if (kernel == PROFILE_linear_backward_weight) {
        m = w->first->cols;
        k = w->second->cols;
    } else if (w->weight) {
        m = w->weight->rows;
        k = w->weight->cols;
    }
    for (int i = 0; i < d->n_rows; i++) {
        profile_row *r = &d->rows[i];
        if (r->kernel == kernel && r->phase == d->phase && r->m == m && r->k == k) return r;
    }
    /* The last row takes what does not fit. */
    if (d->n_rows < PROFILE_MAX_ROWS) d->n_rows++;
    profile_row *r = &d->rows[d->n_rows - 1];
    if (r->calls == 0) *r = (profile_row){.kernel = kernel, .phase = d->phase, .m = m, .k = k};
    return r;
}

static void keep_event(backend_device *d, int32_t row, int64_t n_rows, double begin, double end) {
    if (d->n_events == d->max_events) {
        size_t bytes = (size_t)d->max_events * sizeof *d->events;
        int64_t more = d->max_events ? 2 * d->max_events : 4096;
        profile_event *larger = d->max_events < PROFILE_MAX_EVENTS
                                    ? mem_realloc(d->events, bytes, (size_t)more * sizeof *larger)
                                    : NULL;
        if (!larger) {
            d->n_lost++;
            return;
        }
        d->events = larger;
        d->max_events = more;
    }
    d->events[d->n_events++] = (profile_event){begin, (float)(end - begin), row, n_rows};
}

static void add_call(backend_device *d, profile_kernel kernel, const work *w, double begin) {
    double end = clock_seconds();
    profile_row *r = row_find(d, kernel, w);
    r->calls++;
    r->seconds += end - begin;
    r->flops += count_flops(kernel, w);
    r->bytes += w->bytes + (double)w->n * (4.0 * w->n_read + 8.0 * w->n_changed);
    d->phases[d->phase].kernel_seconds += end - begin;
    if (d->trace) keep_event(d, (int32_t)(r - d->rows), w->first ? w->first->rows : w->n, begin, end);
}

static void profile_mark(backend_device *d, backend_phase phase) {
    double now = clock_seconds();
    d->phases[d->phase].seconds += now - d->phase_begun;
    if (d->trace) keep_event(d, PROFILE_EVENT_PHASE - (int32_t)d->phase, 0, d->phase_begun, now);
    d->phases[phase].count++;
    d->phase = phase;
    d->phase_begun = now;
    backend_mark(d->inner, d->device, phase);
}

/* ---- the slots ---- */

#define KERNEL(name, parameters, names)                                                            \
    static cloze_status profile_##name(backend_device *dev, OPS_PLAIN parameters,                  \
                                       cloze_error *err) {                                         \
        work moved = {0};                                                                          \
        NOTE names double begun = clock_seconds();                                                 \
        cloze_status status = dev->inner->name(dev->device, OPS_PLAIN names, err);                 \
        add_call(dev, PROFILE_##name, &moved, begun);                                              \
        return status;                                                                             \
    }
#include "backend/ops.def"
#undef KERNEL

static cloze_status profile_mem_alloc(backend_device *dev, size_t bytes, void **out,
                                      cloze_error *err) {
    work w = {0};
    double begin = clock_seconds();
    cloze_status status = dev->inner->mem_alloc(dev->device, bytes, out, err);
    add_call(dev, PROFILE_mem_alloc, &w, begin);
    return status;
}

static void profile_mem_free(backend_device *dev, void *p, size_t bytes) {
    dev->inner->mem_free(dev->device, p, bytes);
}

static cloze_status profile_upload(backend_device *dev, void *dst, const void *src, size_t bytes,
                                   cloze_error *err) {
    work w = {.bytes = 2.0 * (double)bytes};
    double begin = clock_seconds();
    cloze_status status = dev->inner->upload(dev->device, dst, src, bytes, err);
    add_call(dev, PROFILE_upload, &w, begin);
    return status;
}

static cloze_status profile_download(backend_device *dev, void *dst, const void *src, size_t bytes,
                                     cloze_error *err) {
    work w = {.bytes = 2.0 * (double)bytes};
    double begin = clock_seconds();
    cloze_status status = dev->inner->download(dev->device, dst, src, bytes, err);
    add_call(dev, PROFILE_download, &w, begin);
    return status;
}

static cloze_status profile_zero(backend_device *dev, void *dst, size_t bytes, cloze_error *err) {
    work w = {.bytes = (double)bytes};
    double begin = clock_seconds();
    cloze_status status = dev->inner->zero(dev->device, dst, bytes, err);
    add_call(dev, PROFILE_zero, &w, begin);
    return status;
}

static cloze_status profile_sync(backend_device *dev, cloze_error *err) {
    work w = {0};
    double begin = clock_seconds();
    cloze_status status = dev->inner->sync(dev->device, err);
    add_call(dev, PROFILE_sync, &w, begin);
    return status;
}

static void profile_weight_drop_packs(backend_device *dev, weight *w) {
    dev->inner->weight_drop_packs(dev->device, w);
}

static void profile_device_close(backend_device *dev) {
    if (!dev) return;
    dev->inner->device_close(dev->device);
    mem_free(dev->events);
    mem_free(dev);
}

cloze_status profile_device_open(const backend *inner, int device_id, int n_threads, bool trace,
                                 backend_device **out, cloze_error *err) {
    backend_device *dev;
    *out = NULL;
    MEM_NEW(err, dev, 1);
    dev->inner = inner;
    dev->trace = trace;
    dev->phase_begun = clock_seconds();
    cloze_status status = inner->device_open(device_id, n_threads, &dev->device, err);
    if (status != CLOZE_OK) {
        mem_free(dev);
        return status;
    }
    *out = dev;
    return CLOZE_OK;
}

static cloze_status open_over_cpu(int device_id, int n_threads, backend_device **out,
                                  cloze_error *err) {
    return profile_device_open(&backend_cpu, device_id, n_threads, false, out, err);
}

const backend backend_profile = {
    .name = "profile",
    .device_open = open_over_cpu,
    .device_close = profile_device_close,
    .mem_alloc = profile_mem_alloc,
    .mem_free = profile_mem_free,
    .upload = profile_upload,
    .download = profile_download,
    .zero = profile_zero,
    .sync = profile_sync,
    .weight_drop_packs = profile_weight_drop_packs,
    .mark = profile_mark,
#define KERNEL(slot, ...) .slot = profile_##slot,
#include "backend/ops.def"
#undef KERNEL
};
