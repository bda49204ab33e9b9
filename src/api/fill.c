/*
 * The fill command: the likeliest tokens at every mask of a text, from a masked-LM head. Texts are
 * taken one or a chunk of lines at a time and run in packed batches, limited by the masks in them,
 * because each costs a row of vocabulary size.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/log.h"
#include "base/utf8.h"
#include "model/locate.h"
#include "model/model.h"
#include "train/session.h"

#define CHUNK_LINES 256
#define BATCH_MASKS 64
#define BATCH_TOKENS 8192

typedef struct candidate {
    int32_t id;
    float logit;
} candidate;

/* One text: where its tokens are in the batch. */
typedef struct fill_text {
    const char *text;
    size_t len;
    encoding e;
    int32_t n_masks;
} fill_text;

typedef struct fill_job {
    const options *o;
    const output *out;
    tokenizer *tok;
    model *model;
    session session;
    int64_t n_vocab; /* V: columns of the logits */
    int32_t top_k;   /* at most V */
    line_chunk chunk;
    fill_text *texts; /* (CHUNK_LINES) */
    /* the packed batch */
    int32_t *ids, *offsets, *mask_rows;
    int32_t token_cap, mask_cap;
    float *logits;   /* (mask_cap,V) */
    candidate *best; /* (mask_cap,top_k) */
    double *log_sum; /* (mask_cap) log of the softmax's denominator */
    buf line;
} fill_job;

/* ---- encoding ---- */

static const char *mask_token(const fill_job *job) {
    return tokenizer_id_to_token(job->tok, tokenizer_special(job->tok)->mask);
}

/* where: "--text", or "NAME:LINE"; code: whose fault a bad text is. */
static cloze_status encode(fill_job *job, fill_text *t, const char *where, cloze_status code,
                           cloze_error *err) {
    int32_t mask = tokenizer_special(job->tok)->mask;
    int64_t longest = model_max_length(job->model);
    encoding_clear(&t->e);
    t->n_masks = 0;
    CLOZE_TRY(tokenizer_encode(job->tok, t->text, t->len, NULL, 0, NULL, &t->e, err));
    for (int32_t i = 0; i < t->e.n; i++) t->n_masks += t->e.ids[i] == mask;
    if (t->e.n > longest)
        return error_set(err, code, "%s: the text has %d tokens, the model takes %lld", where,
                         t->e.n, (long long)longest);
    if (t->n_masks == 0 && !text_is_blank(t->text, t->len))
        return error_set(err, code, "%s: there is no %s to fill in \"%.*s\"", where,
                         mask_token(job), t->len > 200 ? 200 : (int)t->len, t->text);
    return CLOZE_OK;
}

/* ---- running ---- */

static cloze_status reserve(fill_job *job, int32_t n_tokens, int32_t n_masks, cloze_error *err) {
    if (n_tokens > job->token_cap) {
        mem_free(job->ids);
        job->token_cap = 0;
        MEM_NEW(err, job->ids, n_tokens);
        job->token_cap = n_tokens;
    }
    if (n_masks <= job->mask_cap) return CLOZE_OK;
    mem_free(job->mask_rows);
    mem_free(job->logits);
    mem_free(job->best);
    mem_free(job->log_sum);
    job->mask_rows = NULL;
    job->logits = NULL;
    job->best = NULL;
    job->log_sum = NULL;
    job->mask_cap = 0;
    MEM_NEW(err, job->mask_rows, n_masks);
    MEM_NEW(err, job->logits, n_masks * job->n_vocab);
    MEM_NEW(err, job->best, (int64_t)n_masks * job->top_k);
    MEM_NEW(err, job->log_sum, n_masks);
    job->mask_cap = n_masks;
    return CLOZE_OK;
}

/* logits (V) -> the top_k best, the likeliest first and ties in id order, and log(sum(exp)). */
static void rank_row(const float *logits, int64_t n, candidate *best, int32_t top_k,
                     double *log_sum) {
    double max = -INFINITY, sum = 0;
    int32_t have = 0;
    for (int64_t v = 0; v < n; v++) {
        max = logits[v] > max ? logits[v] : max;
        if (have == top_k && !(logits[v] > best[have - 1].logit)) continue;
        int32_t at = have < top_k ? have++ : have - 1;
        while (at > 0 && logits[v] > best[at - 1].logit) {
            best[at] = best[at - 1];
            at--;
        }
        best[at] = (candidate){(int32_t)v, logits[v]};
    }
    for (int64_t v = 0; v < n; v++) sum += exp((double)logits[v] - max);
    *log_sum = max + log(sum);
}

/* Runs texts [first, last), which hold n_masks > 0 masks, and ranks every mask's row. */
static cloze_status run_batch(fill_job *job, size_t first, size_t last, int32_t n_tokens,
                              int32_t n_masks, cloze_error *err) {
    int32_t mask = tokenizer_special(job->tok)->mask, row = 0, n = 0;
    tape *t = job->session.tape;
    CLOZE_TRY(reserve(job, n_tokens, n_masks, err));
    for (size_t i = first; i < last; i++) {
        const encoding *e = &job->texts[i].e;
        job->offsets[i - first] = row;
        for (int32_t k = 0; k < e->n; k++, row++) {
            job->ids[row] = e->ids[k];
            if (e->ids[k] == mask) job->mask_rows[n++] = row;
        }
    }
    job->offsets[last - first] = row;
    nn_batch batch = {.n_seqs = (int32_t)(last - first),
                      .n_tokens = row,
                      .offsets = job->offsets,
                      .input_ids = job->ids};
    tape_begin_step(t, false, 0, NULL, 0);
    var *hidden = model_encode_rows(t, job->model, &batch, job->mask_rows, n, false); /* (M,H) */
    var *rows = model_masked_lm_transform(t, job->model, hidden);
    var *logits = model_masked_lm_logits(t, job->model, rows, NULL, 0); /* (M,V) */
    CLOZE_TRY(tape_status(t, err));
    CLOZE_TRY(tape_read(t, logits, job->logits, err));
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < n; i++)
        rank_row(job->logits + i * job->n_vocab, job->n_vocab, job->best + (int64_t)i * job->top_k,
                 job->top_k, &job->log_sum[i]);
    for (int32_t i = 0; i < n; i++)
        if (!isfinite(job->log_sum[i])) {
            CLOZE_TRY(model_check_finite(job->model, err));
            CLOZE_FAIL(err, NONFINITE,
                       "the scores became %g, though the model's weights are finite",
                       job->log_sum[i]);
        }
    return CLOZE_OK;
}

/* ---- output ---- */

static const char *token_text(const fill_job *job, int32_t id) {
    const char *token = tokenizer_id_to_token(job->tok, id);
    return token ? token : "";
}

static void write_json(const fill_job *job, const fill_text *t, const candidate *best,
                       const double *log_sum, buf *b) {
    buf_puts(b, "{\"text\": ");
    buf_json_string(b, t->text, t->len);
    buf_puts(b, ", \"masks\": [");
    for (int32_t m = 0; m < t->n_masks; m++) {
        buf_puts(b, m ? ", [" : "[");
        for (int32_t k = 0; k < job->top_k; k++) {
            const candidate *c = &best[(int64_t)m * job->top_k + k];
            const char *token = token_text(job, c->id);
            buf_puts(b, k ? ", {\"token\": " : "{\"token\": ");
            buf_json_string(b, token, strlen(token));
            buf_printf(b, ", \"id\": %d, \"probability\": %.9g}", c->id,
                       exp((double)c->logit - log_sum[m]));
        }
        buf_puts(b, "]");
    }
    buf_puts(b, "]}\n");
}

/* A token as people read it: byte-level tokens decoded, "##" kept. */
static void put_token(const fill_job *job, int32_t id, buf *b) {
    if (tokenizer_get_kind(job->tok) == TOKENIZER_BYTE_BPE)
        tokenizer_decode(job->tok, &id, 1, false, b, NULL);
    else
        buf_puts(b, token_text(job, id));
}

/* The text with the best token at each mask. */
static void put_filled(const fill_job *job, const fill_text *t, const candidate *best, buf *b) {
    const char *mask = mask_token(job), *at = t->text, *end = t->text + t->len;
    size_t n = strlen(mask);
    for (int32_t m = 0; m < t->n_masks; m++) {
        const char *found = strstr(at, mask);
        if (!found) break;
        buf_append(b, at, (size_t)(found - at));
        const char *token = token_text(job, best[(int64_t)m * job->top_k].id);
        if (strncmp(token, "##", 2) == 0)
            buf_puts(b, token + 2);
        else
            put_token(job, best[(int64_t)m * job->top_k].id, b);
        at = found + n;
    }
    buf_append(b, at, (size_t)(end - at));
}

#define TABLE_MASKS 5 /* side by side */
#define TOKEN_COLUMNS 12

static void write_table(const fill_job *job, const fill_text *t, const candidate *best,
                        const double *log_sum, buf *b) {
    buf token;
    buf_init(&token, 1 << 16);
    put_filled(job, t, best, b);
    buf_putc(b, '\n');
    for (int32_t first = 0; first < t->n_masks; first += TABLE_MASKS) {
        int32_t last = first + TABLE_MASKS < t->n_masks ? first + TABLE_MASKS : t->n_masks;
        if (t->n_masks > 1) {
            for (int32_t m = first; m < last; m++)
                buf_printf(b, "  mask %-*d", TOKEN_COLUMNS + 5, m + 1);
            buf_putc(b, '\n');
        }
        for (int32_t k = 0; k < job->top_k; k++) {
            for (int32_t m = first; m < last; m++) {
                const candidate *c = &best[(int64_t)m * job->top_k + k];
                buf_clear(&token);
                put_token(job, c->id, &token);
                buf_puts(b, "  ");
                text_pad(b, token.data ? token.data : "", token.len, TOKEN_COLUMNS);
                buf_printf(b, " %6.2f %%", 100 * exp((double)c->logit - log_sum[m]));
                if (m + 1 < last) buf_putc(b, ' ');
            }
            buf_putc(b, '\n');
        }
    }
    buf_putc(b, '\n');
    buf_deinit(&token);
}

static cloze_status write_texts(fill_job *job, size_t first, size_t last, cloze_error *err) {
    int64_t mask = 0;
    for (size_t i = first; i < last; i++) {
        const candidate *best = job->best ? job->best + mask * job->top_k : NULL;
        const double *log_sum = job->log_sum ? job->log_sum + mask : NULL;
        if (job->o->json)
            write_json(job, &job->texts[i], best, log_sum, &job->line);
        else
            write_table(job, &job->texts[i], best, log_sum, &job->line);
        mask += job->texts[i].n_masks;
    }
    return output_flush(job->out, &job->line, err);
}

/* ---- texts ---- */

/* Fills texts [0, n), all encoded. */
static cloze_status fill_texts(fill_job *job, size_t n, cloze_error *err) {
    for (size_t first = 0, last; first < n; first = last) {
        int32_t n_tokens = 0, n_masks = 0;
        for (last = first; last < n; last++) {
            const fill_text *t = &job->texts[last];
            if (last > first &&
                (n_masks + t->n_masks > BATCH_MASKS || n_tokens + t->e.n > BATCH_TOKENS))
                break;
            n_tokens += t->e.n;
            n_masks += t->n_masks;
        }
        if (n_masks) CLOZE_TRY(run_batch(job, first, last, n_tokens, n_masks, err));
        CLOZE_TRY(write_texts(job, first, last, err));
    }
    return CLOZE_OK;
}

static cloze_status fill_one(fill_job *job, cloze_error *err) {
    fill_text *t = &job->texts[0];
    t->text = job->o->text;
    t->len = strlen(job->o->text);
    CLOZE_TRY(encode(job, t, "--text", CLOZE_ERR_USAGE, err));
    if (t->n_masks == 0) CLOZE_FAIL(err, USAGE, "--text: there is no %s to fill", mask_token(job));
    return fill_texts(job, 1, err);
}

static cloze_status fill_chunk(fill_job *job, const line_reader *r, cloze_error *err) {
    cloze_status status = CLOZE_OK;
    size_t n = 0;
    for (; n < job->chunk.n && status == CLOZE_OK; n++) {
        char where[512];
        snprintf(where, sizeof where, "%.480s:%lld", r->name,
                 (long long)job->chunk.first_line + (long long)n);
        job->texts[n].text = job->chunk.lines[n];
        job->texts[n].len = job->chunk.lens[n];
        status = encode(job, &job->texts[n], where, CLOZE_ERR_DATA, err);
    }
    if (status == CLOZE_OK) return fill_texts(job, n, err);
    cloze_error later;
    fill_texts(job, n - 1, &later); /* the lines before the bad one */
    return status;
}

static cloze_status fill_lines(fill_job *job, const cloze_callbacks *callbacks, cloze_error *err) {
    line_reader r;
    progress bar;
    int64_t lines = 0;
    CLOZE_TRY(line_reader_open(&r, job->o->input ? job->o->input : "-", err));
    if (!job->o->input) log_terminal_input(callbacks);
    progress_begin(&bar, callbacks, "fill", "line", 0);
    cloze_status status = CLOZE_OK;
    while (!job->chunk.at_end && status == CLOZE_OK) {
        status = line_chunk_read(&job->chunk, &r, callbacks, err);
        if (status == CLOZE_OK) status = fill_chunk(job, &r, err);
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

/* ---- opening ---- */

static cloze_status job_open(fill_job *job, const char *dir, const cloze_callbacks *callbacks,
                             cloze_error *err) {
    const options *o = job->o;
    model_open_options m = {
        .head = MODEL_HEAD_MASKED_LM, .require_head = true, .callbacks = callbacks};
    if (tokenizer_special(job->tok)->mask < 0)
        CLOZE_FAIL(err, MODEL, "%s: the vocabulary has no mask token", dir);
    CLOZE_TRY(model_open(dir, &m, &job->model, err));
    param *decoder, *bias;
    model_masked_lm_decoder(job->model, &decoder, &bias);
    job->n_vocab = decoder->w.t.rows;
    if (tokenizer_vocab_size(job->tok) > job->n_vocab)
        CLOZE_FAIL(err, MODEL, "%s: the vocabulary has %d tokens but the model only %lld rows", dir,
                   tokenizer_vocab_size(job->tok), (long long)job->n_vocab);
    job->top_k = (int32_t)(o->top_k < job->n_vocab ? o->top_k : job->n_vocab);
    CLOZE_TRY(session_open(&job->session, o->device, (int)o->num_threads, o->bf16, err));
    CLOZE_TRY(line_chunk_init(&job->chunk, CHUNK_LINES, err));
    MEM_NEW(err, job->texts, CHUNK_LINES);
    MEM_NEW(err, job->offsets, CHUNK_LINES + 1);
    return CLOZE_OK;
}

static void job_close(fill_job *job) {
    for (size_t i = 0; job->texts && i < CHUNK_LINES; i++) encoding_deinit(&job->texts[i].e);
    mem_free(job->texts);
    mem_free(job->offsets);
    mem_free(job->ids);
    mem_free(job->mask_rows);
    mem_free(job->logits);
    mem_free(job->best);
    mem_free(job->log_sum);
    line_chunk_deinit(&job->chunk);
    buf_deinit(&job->line);
    session_close(&job->session);
    model_destroy(job->model);
}

cloze_status fill_run(const options *o, const cloze_callbacks *callbacks, const output *out,
                      cloze_error *err) {
    char *dir = NULL;
    fill_job job = {.o = o, .out = out};
    CLOZE_TRY(api_need_model(o, "a masked language model", err));
    if (o->text && o->input) CLOZE_FAIL(err, USAGE, "--text and --input exclude each other");
    buf_init(&job.line, (size_t)1 << 30);
    cloze_status status = api_open_tokenizer(o, &dir, &job.tok, err);
    if (status == CLOZE_OK) status = job_open(&job, dir, callbacks, err);
    if (status == CLOZE_OK)
        status = o->text ? fill_one(&job, err) : fill_lines(&job, callbacks, err);
    job_close(&job);
    tokenizer_destroy(job.tok);
    mem_free(dir);
    return status;
}
