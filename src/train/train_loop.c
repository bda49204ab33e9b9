/* The part that all training loops share; see train_loop.h. */
#include "train/train_loop.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "train/output_dir.h"

void train_loop_init(train_loop *l) { trainer_state_init(&l->state); }

void train_loop_deinit(train_loop *l) {
    events_close(&l->events);
    trainer_state_deinit(&l->state);
}

/* ---- beginning ---- */

void train_loop_plan(train_loop *l, int64_t max_steps, double num_train_epochs) {
    const options *o = l->o;
    l->state.max_steps = max_steps;
    l->state.num_train_epochs = num_train_epochs;
    l->state.logging_steps = o->logging_steps;
    l->state.eval_steps = o->eval_steps;
    l->state.save_steps = o->save_steps;
    l->schedule = schedule_make(o, max_steps);
}

/* A best checkpoint is named relative to where the run was started: it is looked for beside the
 * checkpoint that is gone on from, and named as this run names its directory. */
static cloze_status find_best(train_loop *l, const char *resume, cloze_error *err) {
    char *saved = l->state.best_model_checkpoint;
    if (!saved) return CLOZE_OK;
    char *parent = path_parent(resume);
    bool within = checkpoint_is_within(resume, l->o->output_dir);
    char *best = parent ? path_join(within ? l->o->output_dir : parent, path_base(saved)) : NULL;
    mem_free(parent);
    if (!best) CLOZE_FAIL(err, MEMORY, "out of memory");
    mem_free(saved);
    l->state.best_model_checkpoint = best;
    /* the one that is gone on from is written when its evaluation found it to be the best */
    if (!file_is_dir(best))
        CLOZE_FAIL(err, MODEL,
                   "%s: its best checkpoint %s is missing; go on from a later checkpoint, or train "
                   "anew",
                   resume, best);
    return CLOZE_OK;
}

static cloze_status check_data(const train_loop *l, const trainer_state *saved, const char *resume,
                               cloze_error *err) {
    if (l->state.train_hash != saved->train_hash)
        CLOZE_FAIL(err, MODEL,
                   "%s: it was trained on other data (texts, labels or their order differ from "
                   "what --data_dir and --train_file give now); give the same files, or train anew "
                   "with another --output_dir",
                   resume);
    if (l->state.dev_hash != saved->dev_hash)
        log_line(l->callbacks, CLOZE_LOG_WARN,
                 "the data that the run is evaluated on are others than before %s: its best metric "
                 "and its log do not compare",
                 resume);
    if (saved->data_position > l->data_length)
        CLOZE_FAIL(err, MODEL, "%s/resume_state.json: data_position %lld is beyond the data",
                   resume, (long long)saved->data_position);
    if (saved->global_step > l->state.max_steps)
        CLOZE_FAIL(err, USAGE,
                   "%s is at step %lld, but training would end at step %lld; give a larger "
                   "--max_steps or --num_train_epochs",
                   resume, (long long)saved->global_step, (long long)l->state.max_steps);
    return CLOZE_OK;
}

/* What the plan and the data say stays; the rest comes from the checkpoint. */
static cloze_status restore(train_loop *l, const char *resume, cloze_error *err) {
    trainer_state saved, now = l->state;
    trainer_state_init(&saved);
    cloze_status status = trainer_state_read(&saved, resume, err);
    if (status == CLOZE_OK) status = check_data(l, &saved, resume, err);
    if (status == CLOZE_OK) status = optimizer_load(l->block, resume, err);
    if (status != CLOZE_OK) {
        trainer_state_deinit(&saved);
        return status;
    }
    trainer_state_deinit(&l->state);
    l->state = saved;
    l->state.max_steps = now.max_steps;
    l->state.num_train_epochs = now.num_train_epochs;
    l->state.logging_steps = now.logging_steps;
    l->state.eval_steps = now.eval_steps;
    l->state.save_steps = now.save_steps;
    l->state.train_batch_size = now.train_batch_size;
    l->state.dev_hash = now.dev_hash;
    l->saved_step = saved.global_step;
    l->seconds_before = saved.seconds;
    if (l->o->load_best_model_at_end) {
        if (!l->state.best_model_checkpoint) l->state.best_metric = NAN; /* nobody kept it */
        CLOZE_TRY(find_best(l, resume, err));
    }
    log_line(l->callbacks, CLOZE_LOG_INFO, "Going on from %s at step %lld of %lld", resume,
             (long long)l->state.global_step, (long long)l->state.max_steps);
    return CLOZE_OK;
}

cloze_status train_loop_begin(train_loop *l, const char *resume, cloze_error *err) {
    if (resume) CLOZE_TRY(restore(l, resume, err));
    CLOZE_TRY(dir_create(l->o->output_dir, err));
    CLOZE_TRY(output_dir_begin(l->o, resume, err));
    return events_open_run(&l->events, l->o, err);
}

void train_loop_start(train_loop *l, const char *task) {
    l->started = clock_seconds();
    progress_begin(&l->bar, l->callbacks, task, "step", l->state.max_steps);
    if (l->state.global_step) progress_update(&l->bar, l->state.global_step);
}

/* ---- a step ---- */

double train_loop_rate(const train_loop *l, int64_t step) {
    return l->o->learning_rate * schedule_multiplier(&l->schedule, step);
}

cloze_status train_loop_step(train_loop *l, double loss, int64_t n_examples, cloze_error *err) {
    trainer_state *s = &l->state;
    l->good_step = l->saved_step;
    CLOZE_TRY(train_loop_prune(l, err));
    double m = schedule_multiplier(&l->schedule, s->global_step);
    optimizer_rates rates = {l->o->learning_rate * m, l->o->ppt_learning_rate * m};
    CLOZE_TRY(optimizer_step(l->block, l->session->backend, l->session->device, l->o, &rates,
                             s->global_step + 1, err));
    s->global_step++;
    s->loss_sum += loss;
    s->logged_loss += loss;
    s->logged_steps++;
    l->examples_done += n_examples;
    l->bar.state.loss = s->logged_loss / (double)s->logged_steps;
    l->bar.state.rate = rates.model;
    double elapsed = clock_seconds() - l->started;
    l->bar.state.samples_per_second = elapsed > 0 ? (double)l->examples_done / elapsed : NAN;
    progress_update(&l->bar, s->global_step);
    return CLOZE_OK;
}

/* ---- logging ---- */

bool train_loop_logs_now(const train_loop *l, bool end_of_epoch) {
    int64_t step = l->state.global_step;
    return schedule_is_due(l->o->logging_strategy, l->o->logging_steps, step, end_of_epoch) ||
           (step == 1 && l->o->logging_first_step);
}

void train_loop_log_loss(train_loop *l, const char *speed) {
    trainer_state *s = &l->state;
    if (s->logged_steps == 0) return;
    double loss = s->logged_loss / (double)s->logged_steps,
           rate = train_loop_rate(l, s->global_step);
    buf b;
    buf_init(&b, 4096);
    buf_puts(&b, "\"learning_rate\": ");
    buf_json_double(&b, rate);
    buf_puts(&b, ",\n      \"loss\": ");
    buf_json_double(&b, loss);
    trainer_state_log(s, &b);
    buf_deinit(&b);
    log_line(l->callbacks, CLOZE_LOG_INFO,
             "step %lld: loss %.4f, learning_rate %.3g%s (epoch %.2f)", (long long)s->global_step,
             loss, rate, speed, s->epoch);
    events_scalar(&l->events, "train/loss", s->global_step, loss);
    events_scalar(&l->events, "train/learning_rate", s->global_step, rate);
    events_scalar(&l->events, "train/epoch", s->global_step, s->epoch);
    s->logged_loss = 0;
    s->logged_steps = 0;
}

/* ---- checkpoints ---- */

double train_loop_seconds(const train_loop *l) {
    return l->seconds_before + (l->started > 0 ? clock_seconds() - l->started : 0);
}

cloze_status train_loop_tell_last_good(const train_loop *l, cloze_status status, cloze_error *err) {
    if (!err || (status != CLOZE_ERR_IO && status != CLOZE_ERR_NONFINITE)) return status;
    cloze_error first = *err;
    bool io = status == CLOZE_ERR_IO;
    int64_t step = io ? l->saved_step : l->good_step;
    if (step > 0)
        error_set(err, status, "%s; %s/checkpoint-%lld is whole%s", first.message, l->o->output_dir,
                  (long long)step,
                  io ? ", --resume_from_checkpoint last goes on from it"
                     : " and good, --model_name_or_path starts from it");
    else if (!io)
        error_set(err, status, "%s; no good checkpoint was written before (--save_steps)",
                  first.message);
    return status;
}

cloze_status train_loop_check_weights(const train_loop *l, cloze_error *err) {
    bool finite;
    CLOZE_TRY(
        param_block_is_finite(l->block, l->session->backend, l->session->device, &finite, err));
    if (!finite)
        CLOZE_FAIL(err, NONFINITE,
                   "the weights became non-finite at step %lld; try a smaller --learning_rate (now "
                   "%g)",
                   (long long)l->state.global_step, l->o->learning_rate);
    return CLOZE_OK;
}

bool train_loop_is_unevaluated(const train_loop *l) {
    return l->state.evaluated_step != l->state.global_step;
}

void train_loop_note_evaluation(train_loop *l) {
    l->state.evaluated_step = l->state.global_step;
    /* the one that the interrupted evaluation left is without it */
    if (l->saved_step == l->state.global_step) l->saved_step = 0;
}

cloze_status train_loop_save(train_loop *l, cloze_error *err) {
    trainer_state *s = &l->state;
    if (l->saved_step == s->global_step) return CLOZE_OK;
    CLOZE_TRY(train_loop_check_weights(l, err));
    s->seconds = train_loop_seconds(l);
    checkpoint_source source = {l->save_model, l->model, l->block, s, l->o};
    cloze_status status = checkpoint_save(&source, l->o->output_dir, err);
    if (status != CLOZE_OK) return train_loop_tell_last_good(l, status, err);
    l->saved_step = s->global_step;
    log_line(l->callbacks, CLOZE_LOG_INFO, "Saving model checkpoint to %s/checkpoint-%lld",
             l->o->output_dir, (long long)l->saved_step);
    l->prune_due = l->o->save_total_limit > 0;
    return CLOZE_OK;
}

cloze_status train_loop_prune(train_loop *l, cloze_error *err) {
    const trainer_state *s = &l->state;
    if (!l->prune_due) return CLOZE_OK;
    l->prune_due = false;
    const char *best = s->best_model_checkpoint;
    if (best && !checkpoint_is_within(best, l->o->output_dir)) best = NULL;
    return checkpoint_prune(l->o->output_dir, l->o->save_total_limit, l->saved_step, best, err);
}

cloze_status train_loop_interrupt(train_loop *l, cloze_error *err) {
    CLOZE_TRY(train_loop_save(l, err));
    CLOZE_TRY(train_loop_prune(l, err));
    CLOZE_FAIL(err, INTERRUPTED,
               "interrupted at step %lld; %s/checkpoint-%lld was written (the same command with "
               "--resume_from_checkpoint last goes on)",
               (long long)l->saved_step, l->o->output_dir, (long long)l->saved_step);
}
