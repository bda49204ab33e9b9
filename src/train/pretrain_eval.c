/* Pre-training: logits at the masks, and the loss on text that is held out. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "train/pretrain_internal.h"

var *pretrain_batch_logits(pretrain *p) {
    masked_batch *b = &p->batch;
    nn_batch batch = {.n_seqs = b->n_seqs,
                      .n_tokens = b->n_tokens,
                      .offsets = b->offsets,
                      .input_ids = b->input_ids,
                      .position_ids = b->position_ids};
    tape *t = p->session.tape;
    var *rows = model_encode_rows(t, p->model, &batch, b->mask_rows, b->n_masks,
                                  p->o->gradient_checkpointing); /* (M,H) */
    return model_masked_lm_logits(t, p->model, model_masked_lm_transform(t, p->model, rows), NULL,
                                  0); /* (M,V) */
}

/* ---- held-out evaluation ---- */

static void score_row(const float *logits, int64_t vocab, int32_t label, held_out *h) {
    double max = -INFINITY, sum = 0;
    int64_t above = 0;
    for (int64_t v = 0; v < vocab; v++) {
        max = logits[v] > max ? logits[v] : max;
        above += logits[v] > logits[label];
    }
    for (int64_t v = 0; v < vocab; v++) sum += exp((double)logits[v] - max);
    h->loss += max + log(sum) - (double)logits[label];
    h->top1 += above < 1;
    h->top5 += above < 5;
    h->n++;
}

int64_t pretrain_batch_end(const corpus *c, const int32_t *order, int64_t first, int64_t budget) {
    int64_t tokens = 0, i = first;
    while (i < c->n_sequences) {
        tokens += c->offsets[order[i] + 1] - c->offsets[order[i]] + 2;
        if (tokens > budget && i > first) break;
        i++;
    }
    return i;
}

static cloze_status evaluate(pretrain *p, held_out *h, cloze_error *err) {
    const corpus *c = &p->held;
    tape *t = p->session.tape;
    int64_t vocab = model_get_config(p->model)->vocab_size;
    cloze_status status = CLOZE_OK;
    float *logits = NULL;
    int32_t *order;
    memset(h, 0, sizeof *h);
    MEM_NEW(err, order, c->n_sequences);
    for (int64_t i = 0; i < c->n_sequences; i++) order[i] = (int32_t)i;
    uint64_t key = rng_mix_string((uint64_t)p->o->seed,
                                  "held-out masks"); /* the same masks at every evaluation */
    for (int64_t first = 0, last; first < c->n_sequences && status == CLOZE_OK; first = last) {
        last = pretrain_batch_end(c, order, first, p->o->tokens_per_batch);
        status = masked_batch_fill(&p->batch, c, order, first, last, &p->mask, key, err);
        if (status != CLOZE_OK) break;
        tape_begin_step(t, false, 0, NULL, 0);
        var *v = pretrain_batch_logits(p);
        status = tape_status(t, err);
        mem_free(logits);
        logits = mem_alloc((size_t)(p->batch.n_masks * vocab) * sizeof *logits);
        if (status == CLOZE_OK && !logits)
            status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the held-out logits");
        if (status == CLOZE_OK) status = tape_read(t, v, logits, err);
        for (int32_t i = 0; status == CLOZE_OK && i < p->batch.n_masks; i++)
            score_row(logits + i * vocab, vocab, p->batch.labels[i], h);
        if (status == CLOZE_OK && last < c->n_sequences && log_interrupted(p->callbacks))
            status = error_set(err, CLOZE_ERR_INTERRUPTED,
                               "interrupted after %lld of %lld held-out sequences", (long long)last,
                               (long long)c->n_sequences);
    }
    mem_free(logits);
    mem_free(order);
    if (h->n) {
        h->loss /= (double)h->n;
        h->top1 /= (double)h->n;
        h->top5 /= (double)h->n;
    }
    return status;
}

void pretrain_put_held_out(const held_out *h, const char *separator, buf *b) {
    buf_puts(b, "\"eval_loss\": ");
    buf_json_double(b, h->loss);
    buf_printf(b, "%s\"eval_masked_tokens\": %lld%s\"eval_top1\": ", separator, (long long)h->n,
               separator);
    buf_json_double(b, h->top1);
    buf_printf(b, "%s\"eval_top5\": ", separator);
    buf_json_double(b, h->top5);
}

cloze_status pretrain_evaluate(pretrain *p, held_out *h, cloze_error *err) {
    buf b;
    CLOZE_TRY(evaluate(p, h, err));
    train_loop_note_evaluation(&p->loop);
    buf_init(&b, 4096);
    pretrain_put_held_out(h, ",\n      ", &b);
    trainer_state_log(&p->loop.state, &b);
    buf_deinit(&b);
    events_scalar(&p->loop.events, "eval/loss", p->loop.state.global_step, h->loss);
    log_line(p->callbacks, CLOZE_LOG_INFO, "step %lld: held-out loss %.4f, top-1 %.4f, top-5 %.4f",
             (long long)p->loop.state.global_step, h->loss, h->top1, h->top5);
    return CLOZE_OK;
}
