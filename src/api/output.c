/* Output, input lines and the small things that the commands of this room share. */
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/log.h"
#include "base/utf8.h"
#include "model/locate.h"

#define CHUNK_BYTES ((size_t)1 << 20)
#define GATHER_MS 20 /* how long a chunk waits for one more line */
#define POLL_MS 200  /* how often an idle stream looks for an interruption */

cloze_status output_put(const output *out, const char *text, size_t n, cloze_error *err) {
    if (n && out->write(out->user, text, n) != 0)
        CLOZE_FAIL(err, IO, "the output could not be written");
    return CLOZE_OK;
}

cloze_status output_flush(const output *out, buf *b, cloze_error *err) {
    if (!buf_ok(b)) CLOZE_FAIL(err, MEMORY, "out of memory for the output");
    cloze_status status = output_put(out, b->data, b->len, err);
    buf_clear(b);
    return status;
}

/* ---- chunks of lines ---- */

cloze_status line_chunk_init(line_chunk *k, size_t max_lines, cloze_error *err) {
    *k = (line_chunk){.max_lines = max_lines};
    buf_init(&k->text, CHUNK_BYTES + LINE_READER_MAX + 2);
    k->lines = mem_calloc(max_lines, sizeof *k->lines);
    k->lens = mem_calloc(max_lines, sizeof *k->lens);
    if (k->lines && k->lens) return CLOZE_OK;
    line_chunk_deinit(k);
    CLOZE_FAIL(err, MEMORY, "out of memory for %zu lines", max_lines);
}

void line_chunk_deinit(line_chunk *k) {
    buf_deinit(&k->text);
    mem_free(k->lines);
    mem_free(k->lens);
    k->lines = NULL;
    k->lens = NULL;
}

/* Waits for the first line of a chunk, however long; for the others a moment. */
static cloze_status wait_for_line(const line_chunk *k, const line_reader *r,
                                  const cloze_callbacks *callbacks, bool *ready, cloze_error *err) {
    *ready = line_reader_ready(r, k->n ? GATHER_MS : POLL_MS);
    while (!*ready && k->n == 0) {
        if (log_interrupted(callbacks))
            CLOZE_FAIL(err, INTERRUPTED, "interrupted while waiting for input");
        *ready = line_reader_ready(r, POLL_MS);
    }
    return CLOZE_OK;
}

static cloze_status read_lines(line_chunk *k, line_reader *r, const cloze_callbacks *callbacks,
                               cloze_error *err) {
    while (k->n < k->max_lines && k->text.len < CHUNK_BYTES) {
        bool ready;
        const char *line;
        size_t n;
        CLOZE_TRY(wait_for_line(k, r, callbacks, &ready, err));
        if (!ready) return CLOZE_OK;
        CLOZE_TRY(line_reader_next(r, &line, &n, err));
        if (!line) {
            k->at_end = true;
            return CLOZE_OK;
        }
        if (k->n == 0) k->first_line = r->line;
        buf_append(&k->text, line, n);
        buf_putc(&k->text, '\0');
        k->lens[k->n++] = n;
    }
    return CLOZE_OK;
}

cloze_status line_chunk_read(line_chunk *k, line_reader *r, const cloze_callbacks *callbacks,
                             cloze_error *err) {
    buf_clear(&k->text);
    k->n = 0;
    cloze_status status = read_lines(k, r, callbacks, err);
    if (!buf_ok(&k->text)) {
        k->n = 0;
        CLOZE_FAIL(err, MEMORY, "out of memory (reading %s)", r->name);
    }
    const char *at = k->text.data; /* only now: the buffer has moved while it grew */
    for (size_t i = 0; i < k->n; i++) {
        k->lines[i] = at;
        at += k->lens[i] + 1;
    }
    return status;
}

/* ---- models, columns ---- */

cloze_status api_need_model(const options *o, const char *what, cloze_error *err) {
    if (!o->model) CLOZE_FAIL(err, USAGE, "--model DIR is missing: %s", what);
    return CLOZE_OK;
}

cloze_status api_open_tokenizer(const options *o, char **dir, tokenizer **tok, cloze_error *err) {
    tokenizer_options t = {OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : -1};
    *tok = NULL;
    CLOZE_TRY(model_locate(o->model, dir, err));
    return tokenizer_open(*dir, &t, tok, err);
}

void text_pad(buf *b, const char *text, size_t n, int width) {
    buf_append(b, text, n);
    for (int w = utf8_width(text, n); w < width; w++) buf_putc(b, ' ');
}

void text_count(buf *b, int64_t value) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)value);
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0 && digits[i - 1] != '-') buf_putc(b, ',');
        buf_putc(b, digits[i]);
    }
}
