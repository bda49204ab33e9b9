/*
 * The tokenize command: every line of the input to token ids, tokens and offsets, in chunks and on
 * all cores. The JSON spelling of every token is made once; a chunk's lines are encoded and written
 * out side by side, each thread into a piece of its own, and the pieces go out in order.
 */
#include <omp.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/log.h"

#define CHUNK_LINES 8192
#define INT_CHARS 12 /* of an int32 with a comma */

/* Output of one thread. */
typedef struct piece {
    char *data;
    size_t len, cap;
} piece;

typedef struct tokenize_job {
    const tokenizer *tok;
    bool json;
    buf spellings;  /* of all tokens one after another: quoted for JSON, else as they are */
    size_t *starts; /* (n_ids+1) into spellings */
    int32_t n_ids;
    line_chunk chunk;
    encoding *encodings; /* (CHUNK_LINES) */
    piece *pieces;       /* (n_pieces) */
    int n_pieces;
} tokenize_job;

static cloze_status make_spellings(tokenize_job *job, cloze_error *err) {
    job->n_ids = tokenizer_vocab_size(job->tok);
    MEM_NEW(err, job->starts, (size_t)job->n_ids + 1);
    for (int32_t id = 0; id < job->n_ids; id++) {
        const char *token = tokenizer_id_to_token(job->tok, id);
        job->starts[id] = job->spellings.len;
        if (!token) token = "";
        if (job->json)
            buf_json_string(&job->spellings, token, strlen(token));
        else
            buf_puts(&job->spellings, token);
    }
    job->starts[job->n_ids] = job->spellings.len;
    if (!buf_ok(&job->spellings)) CLOZE_FAIL(err, MEMORY, "out of memory for the vocabulary");
    return CLOZE_OK;
}

/* ---- writing one line ---- */

static char *put_int(char *out, int32_t value) {
    char digits[INT_CHARS];
    int n = 0;
    uint32_t left = (uint32_t)value; /* ids and offsets are never negative */
    do digits[n++] = (char)('0' + left % 10);
    while (left /= 10);
    while (n) *out++ = digits[--n];
    return out;
}

static char *put_text(char *out, const char *text) {
    size_t n = strlen(text);
    memcpy(out, text, n);
    return out + n;
}

static char *put_tokens(const tokenize_job *job, const encoding *e, char separator, char *out) {
    for (int32_t i = 0; i < e->n; i++) {
        size_t start = job->starts[e->ids[i]], n = job->starts[e->ids[i] + 1] - start;
        if (i) *out++ = separator;
        memcpy(out, job->spellings.data + start, n);
        out += n;
    }
    return out;
}

static char *put_json(const tokenize_job *job, const encoding *e, char *out) {
    out = put_text(out, "{\"ids\":[");
    for (int32_t i = 0; i < e->n; i++) {
        if (i) *out++ = ',';
        out = put_int(out, e->ids[i]);
    }
    out = put_text(out, "],\"tokens\":[");
    out = put_tokens(job, e, ',', out);
    out = put_text(out, "],\"offsets\":[");
    for (int32_t i = 0; i < e->n; i++) {
        if (i) *out++ = ',';
        *out++ = '[';
        out = put_int(out, e->offsets[i][0]);
        *out++ = ',';
        out = put_int(out, e->offsets[i][1]);
        *out++ = ']';
    }
    return put_text(out, "]}\n");
}

/* Appends one line to p; false without memory. */
static bool put_line(const tokenize_job *job, const encoding *e, piece *p) {
    size_t need = 64 + (size_t)e->n * (job->json ? 3 * INT_CHARS + 4 : 1);
    for (int32_t i = 0; i < e->n; i++) {
        if (e->ids[i] < 0 || e->ids[i] >= job->n_ids) return false;
        need += job->starts[e->ids[i] + 1] - job->starts[e->ids[i]];
    }
    if (p->cap - p->len < need) {
        size_t cap = p->cap * 2 > p->len + need ? p->cap * 2 : p->len + need;
        char *grown = mem_realloc(p->data, p->len, cap);
        if (!grown) return false;
        p->data = grown;
        p->cap = cap;
    }
    char *end = p->data + p->len;
    if (job->json) {
        end = put_json(job, e, end);
    } else {
        end = put_tokens(job, e, ' ', end);
        *end++ = '\n';
    }
    p->len = (size_t)(end - p->data);
    return true;
}

/* ---- chunks ---- */

static cloze_status write_chunk(tokenize_job *job, const output *out, cloze_error *err) {
    size_t n = job->chunk.n, n_pieces = (size_t)job->n_pieces;
    bool ok = true;
#pragma omp parallel for schedule(static, 1) num_threads(job->n_pieces) if (n > 128)               \
    reduction(&& : ok)
    for (size_t t = 0; t < n_pieces; t++) {
        piece *p = &job->pieces[t];
        p->len = 0;
        for (size_t i = n * t / n_pieces; i < n * (t + 1) / n_pieces; i++)
            ok = put_line(job, &job->encodings[i], p) && ok;
    }
    if (!ok) CLOZE_FAIL(err, MEMORY, "out of memory for the output");
    for (size_t t = 0; t < n_pieces; t++)
        CLOZE_TRY(output_put(out, job->pieces[t].data, job->pieces[t].len, err));
    return CLOZE_OK;
}

static cloze_status run_chunk(tokenize_job *job, const output *out, cloze_error *err) {
    CLOZE_TRY(tokenizer_encode_batch(job->tok, job->chunk.lines, job->chunk.lens, job->chunk.n,
                                     NULL, job->encodings, err));
    return write_chunk(job, out, err);
}

static cloze_status run_lines(tokenize_job *job, const options *o, const cloze_callbacks *callbacks,
                              const output *out, cloze_error *err) {
    line_reader r;
    progress bar;
    int64_t lines = 0;
    CLOZE_TRY(line_reader_open(&r, o->input ? o->input : "-", err));
    if (!o->input) log_terminal_input(callbacks);
    progress_begin(&bar, callbacks, "tokenize", "line", 0);
    cloze_status status = CLOZE_OK;
    while (!job->chunk.at_end && status == CLOZE_OK) {
        status = line_chunk_read(&job->chunk, &r, callbacks, err);
        if (job->chunk.n) { /* also the lines before a bad one */
            cloze_error later;
            cloze_status ran = run_chunk(job, out, status == CLOZE_OK ? err : &later);
            if (status == CLOZE_OK) status = ran;
        }
        lines += (int64_t)job->chunk.n;
        progress_update(&bar, lines);
        if (status == CLOZE_OK && !job->chunk.at_end && log_interrupted(callbacks))
            status = error_set(err, CLOZE_ERR_INTERRUPTED, "interrupted after %lld lines",
                               (long long)lines);
    }
    progress_end(&bar);
    line_reader_close(&r);
    return status;
}

static cloze_status run_text(tokenize_job *job, const options *o, const output *out,
                             cloze_error *err) {
    CLOZE_TRY(tokenizer_encode(job->tok, o->text, strlen(o->text), o->text_b,
                               o->text_b ? strlen(o->text_b) : 0, NULL, &job->encodings[0], err));
    job->chunk.n = 1;
    return write_chunk(job, out, err);
}

static cloze_status job_open(tokenize_job *job, cloze_error *err) {
    job->n_pieces = omp_get_max_threads();
    MEM_NEW(err, job->pieces, job->n_pieces);
    MEM_NEW(err, job->encodings, CHUNK_LINES);
    for (int i = 0; i < CHUNK_LINES; i++) encoding_init(&job->encodings[i], job->json, false);
    CLOZE_TRY(line_chunk_init(&job->chunk, CHUNK_LINES, err));
    return make_spellings(job, err);
}

static void job_close(tokenize_job *job) {
    for (int i = 0; job->pieces && i < job->n_pieces; i++) mem_free(job->pieces[i].data);
    for (int i = 0; job->encodings && i < CHUNK_LINES; i++) encoding_deinit(&job->encodings[i]);
    mem_free(job->pieces);
    mem_free(job->encodings);
    mem_free(job->starts);
    line_chunk_deinit(&job->chunk);
    buf_deinit(&job->spellings);
}

cloze_status tokenize_run(const options *o, const cloze_callbacks *callbacks, const output *out,
                          cloze_error *err) {
    char *dir = NULL;
    tokenizer *tok = NULL;
    tokenize_job job = {.json = o->json};
    CLOZE_TRY(api_need_model(o, "a directory with a vocabulary", err));
    if (o->text_b && !o->text) CLOZE_FAIL(err, USAGE, "--text_b needs --text");
    if (o->text && o->input) CLOZE_FAIL(err, USAGE, "--text and --input exclude each other");
    int threads_before = omp_get_max_threads();
    if (o->num_threads > 0) omp_set_num_threads((int)o->num_threads);
    buf_init(&job.spellings, (size_t)1 << 30);
    cloze_status status = api_open_tokenizer(o, &dir, &tok, err);
    job.tok = tok;
    if (status == CLOZE_OK) status = job_open(&job, err);
    if (status == CLOZE_OK)
        status = o->text ? run_text(&job, o, out, err) : run_lines(&job, o, callbacks, out, err);
    job_close(&job);
    tokenizer_destroy(tok);
    mem_free(dir);
    omp_set_num_threads(threads_before);
    return status;
}
