/* inspect --model --data_dir: what training with the given flags would need. */
#include <string.h>

#include "api/api_internal.h"
#include "train/run.h"

static void put_title(buf *b, const char *title) { buf_printf(b, "%-20s", title); }

/* Bytes as "2.24 GB" or "13.1 MB". */
static void put_bytes(buf *b, int64_t bytes) {
    if (bytes >= 1000000000)
        buf_printf(b, "%.2f GB", (double)bytes / 1e9);
    else
        buf_printf(b, "%.1f MB", (double)bytes / 1e6);
}

static void put_seconds(buf *b, double seconds) {
    if (seconds < 120)
        buf_printf(b, seconds < 10 ? "%.2f s" : "%.0f s", seconds);
    else if (seconds < 7200)
        buf_printf(b, "%.0f min", seconds / 60);
    else
        buf_printf(b, "%.1f h", seconds / 3600);
}

typedef struct part {
    const char *title, *key;
    int64_t bytes;
} part;

#define N_PARTS 6
static void get_parts(const forecast *f, part parts[N_PARTS]) {
    const part all[N_PARTS] = {
        {"weights", "weights", f->weights},     {"gradients", "gradients", f->gradients},
        {"optimizer", "optimizer", f->moments}, {"activations", "activations", f->activations},
        {"weight copies", "casts", f->casts},     {"program and data", "rest", f->rest}};
    memcpy(parts, all, sizeof all);
}

static void write_memory(const forecast *f, buf *b) {
    part parts[N_PARTS];
    get_parts(f, parts);
    put_title(b, "peak memory");
    put_bytes(b, f->peak);
    if (f->available >= 0) {
        buf_puts(b, f->available < f->peak ? "; ONLY " : "; ");
        put_bytes(b, f->available);
        buf_puts(b, " are free now");
    }
    buf_putc(b, '\n');
    for (int i = 0; i < N_PARTS; i++) {
        if (!parts[i].bytes) continue;
        buf_printf(b, "  %-18s", parts[i].title);
        put_bytes(b, parts[i].bytes);
        buf_putc(b, '\n');
    }
}

static void write_text(const options *o, const forecast *f, buf *b) {
    put_title(b, "training data");
    text_count(b, f->n_train);
    buf_puts(b, " examples");
    if (f->n_dev) buf_printf(b, ", %lld to evaluate on", (long long)f->n_dev);
    buf_putc(b, '\n');
    put_title(b, "tokens a batch");
    text_count(b, f->batch_tokens);
    buf_puts(b, " on average, ");
    text_count(b, f->largest_batch_tokens);
    buf_printf(b, " in the largest (%lld examples)\n", (long long)o->per_device_train_batch_size);
    put_title(b, "trainable");
    text_count(b, f->n_trainable);
    buf_puts(b, " of ");
    text_count(b, f->n_parameters);
    buf_puts(b, " parameters\n");
    write_memory(f, b);
    put_title(b, "steps");
    text_count(b, f->max_steps);
    buf_printf(b, " (%.4g epochs)\n", f->num_train_epochs);
    put_title(b, "time");
    put_seconds(b, f->seconds_per_step);
    buf_puts(b, " a step, ");
    put_seconds(b, f->seconds);
    buf_puts(b, " in all");
    if (f->n_evaluations) {
        buf_printf(b, ", with %lld evaluations of ", (long long)f->n_evaluations);
        put_seconds(b, f->seconds_per_evaluation);
    }
    buf_putc(b, '\n');
    if (!f->n_checkpoints) return;
    put_title(b, "disk");
    buf_printf(b, "%lld checkpoint%s of ", (long long)f->n_checkpoints,
               f->n_checkpoints > 1 ? "s" : "");
    put_bytes(b, f->checkpoint_bytes);
    buf_putc(b, '\n');
}

static void put_integer(buf *b, const char *key, int64_t value) {
    buf_printf(b, "\"%s\": %lld, ", key, (long long)value);
}

static void put_real(buf *b, const char *key, double value) {
    buf_printf(b, "\"%s\": ", key);
    buf_json_double(b, value);
    buf_puts(b, ", ");
}

static void write_json(const forecast *f, buf *b) {
    part parts[N_PARTS];
    get_parts(f, parts);
    buf_puts(b, "{");
    put_integer(b, "train_examples", f->n_train);
    put_integer(b, "eval_examples", f->n_dev);
    put_integer(b, "batch_tokens", f->batch_tokens);
    put_integer(b, "largest_batch_tokens", f->largest_batch_tokens);
    put_integer(b, "parameters", f->n_parameters);
    put_integer(b, "trainable_parameters", f->n_trainable);
    put_integer(b, "max_steps", f->max_steps);
    put_real(b, "num_train_epochs", f->num_train_epochs);
    buf_puts(b, "\"memory\": {");
    for (int i = 0; i < N_PARTS; i++) put_integer(b, parts[i].key, parts[i].bytes);
    buf_printf(b, "\"peak\": %lld, \"available\": ", (long long)f->peak);
    if (f->available >= 0)
        buf_printf(b, "%lld}, ", (long long)f->available);
    else
        buf_puts(b, "null}, ");
    put_real(b, "seconds_per_step", f->seconds_per_step);
    put_integer(b, "evaluations", f->n_evaluations);
    put_real(b, "seconds_per_evaluation", f->seconds_per_evaluation);
    put_real(b, "seconds", f->seconds);
    put_integer(b, "checkpoints", f->n_checkpoints);
    buf_printf(b, "\"checkpoint_bytes\": %lld}\n", (long long)f->checkpoint_bytes);
}

cloze_status inspect_forecast(const options *o, const cloze_callbacks *callbacks, const char *dir,
                              buf *text, cloze_error *err) {
    forecast f;
    CLOZE_TRY(forecast_run(o, callbacks, dir, &f, err));
    if (o->json)
        write_json(&f, text);
    else
        write_text(o, &f, text);
    return buf_ok(text) ? CLOZE_OK : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
}
