/* Metrics as scikit-learn and Trainer define them. */
#include "train/metrics.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

void metrics_softmax(const float *logits, int32_t n_labels, double *probabilities) {
    double max = -INFINITY, sum = 0;
    for (int32_t c = 0; c < n_labels; c++) max = logits[c] > max ? logits[c] : max;
    for (int32_t c = 0; c < n_labels; c++) sum += probabilities[c] = exp((double)logits[c] - max);
    for (int32_t c = 0; c < n_labels; c++) probabilities[c] /= sum;
}

static double row_loss(const float *logits, int32_t n_labels, int32_t label) {
    double max = -INFINITY, sum = 0;
    for (int32_t c = 0; c < n_labels; c++) max = logits[c] > max ? logits[c] : max;
    for (int32_t c = 0; c < n_labels; c++) sum += exp((double)logits[c] - max);
    return max + log(sum) - (double)logits[label];
}

static void per_label(metrics *m) {
    int32_t n_occurring = 0;
    for (int32_t c = 0; c < m->n_labels; c++) {
        int64_t right = m->confusion[(int64_t)c * m->n_labels + c], said = 0, support = 0;
        for (int32_t k = 0; k < m->n_labels; k++) {
            support += m->confusion[(int64_t)c * m->n_labels + k];
            said += m->confusion[(int64_t)k * m->n_labels + c];
        }
        label_metrics *l = &m->labels[c];
        l->support = support;
        l->precision = said ? (double)right / (double)said : 0;
        l->recall = support ? (double)right / (double)support : 0;
        l->f1 = said + support ? 2.0 * (double)right / (double)(said + support) : 0;
        m->macro_f1 += l->f1;
        n_occurring += said + support > 0;
    }
    if (n_occurring) m->macro_f1 /= n_occurring;
}

cloze_status metrics_compute(const float *logits, const int32_t *labels, int64_t n,
                             int32_t n_labels, metrics *m, cloze_error *err) {
    memset(m, 0, sizeof *m);
    m->n = n;
    m->n_labels = n_labels;
    m->labels = mem_calloc((size_t)n_labels, sizeof *m->labels);
    m->confusion = mem_calloc((size_t)n_labels * (size_t)n_labels, sizeof *m->confusion);
    if (!m->labels || !m->confusion) {
        metrics_deinit(m);
        CLOZE_FAIL(err, MEMORY, "out of memory for the metrics of %d labels", n_labels);
    }
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *row = logits + i * n_labels;
        int32_t best = 0;
        for (int32_t c = 1; c < n_labels; c++)
            if (row[c] > row[best]) best = c;
        right += best == labels[i];
        m->confusion[(int64_t)labels[i] * n_labels + best]++;
        m->loss += row_loss(row, n_labels, labels[i]);
    }
    m->loss = n ? m->loss / (double)n : 0;
    m->accuracy = n ? (double)right / (double)n : 0;
    m->micro_f1 = m->accuracy;
    per_label(m);
    return CLOZE_OK;
}

void metrics_deinit(metrics *m) {
    mem_free(m->labels);
    mem_free(m->confusion);
    m->labels = NULL;
    m->confusion = NULL;
}

bool metrics_get(const metrics *m, const char *name, double *value) {
    const struct {
        const char *name;
        double value;
    } all[] = {{"accuracy", m->accuracy},
               {"macro_f1", m->macro_f1},
               {"micro_f1", m->micro_f1},
               {"loss", m->loss}};
    if (strncmp(name, "eval_", 5) == 0) name += 5;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, name) != 0) continue;
        *value = all[i].value;
        return true;
    }
    return false;
}

static void write_full(const metrics *m, const char *prefix, const label_set *labels, buf *out) {
    buf_printf(out, ",\n  \"%s_per_label\": {", prefix);
    for (int32_t c = 0; c < m->n_labels; c++) {
        const label_metrics *l = &m->labels[c];
        buf_puts(out, c ? ",\n    " : "\n    ");
        buf_json_string(out, labels->entries[c].name, strlen(labels->entries[c].name));
        buf_puts(out, ": {\"precision\": ");
        buf_json_double(out, l->precision);
        buf_puts(out, ", \"recall\": ");
        buf_json_double(out, l->recall);
        buf_puts(out, ", \"f1\": ");
        buf_json_double(out, l->f1);
        buf_printf(out, ", \"support\": %lld}", (long long)l->support);
    }
    buf_printf(out, "\n  },\n  \"%s_confusion_matrix\": [", prefix);
    for (int32_t r = 0; r < m->n_labels; r++) {
        buf_puts(out, r ? ",\n    [" : "\n    [");
        for (int32_t c = 0; c < m->n_labels; c++)
            buf_printf(out, "%s%lld", c ? ", " : "",
                       (long long)m->confusion[(int64_t)r * m->n_labels + c]);
        buf_puts(out, "]");
    }
    buf_puts(out, "\n  ]");
}

/* The figures of a set as pairs with `indent` before each. */
static void write_figures(const metrics *m, const char *prefix, int32_t batch_size,
                          const char *indent, buf *out) {
    double seconds = m->seconds > 0 ? m->seconds : 1e-9;
    double steps = ceil((double)m->n / batch_size);
    const struct {
        const char *name;
        double value;
    } all[] = {
        {"accuracy", m->accuracy},
        {"loss", m->loss},
        {"macro_f1", m->macro_f1},
        {"micro_f1", m->micro_f1},
        {"runtime", m->seconds},
        {"samples_per_second", (double)m->n / seconds},
        {"steps_per_second", steps / seconds},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buf_printf(out, "%s%s\"%s_%s\": ", i ? ",\n" : "", indent, prefix, all[i].name);
        buf_json_double(out, all[i].value);
    }
}

void metrics_write_json(const metrics *m, const char *prefix, const label_set *labels,
                        int32_t batch_size, buf *out) {
    write_figures(m, prefix, batch_size, "  ", out);
    write_full(m, prefix, labels, out);
}

void metrics_write_log(const metrics *m, const char *prefix, int32_t batch_size, buf *out) {
    buf b;
    buf_init(&b, 1 << 16);
    write_figures(m, prefix, batch_size, "      ", &b);
    if (buf_ok(&b)) buf_puts(out, b.data + 6); /* who logs it has indented the first */
    out->failed = out->failed || !buf_ok(&b);
    buf_deinit(&b);
}
