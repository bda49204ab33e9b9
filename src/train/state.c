/* trainer_state.json. */
#include "train/state.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define STATE_MAX_BYTES ((size_t)1 << 30)

void trainer_state_init(trainer_state *s) {
    memset(s, 0, sizeof *s);
    s->best_metric = NAN;
    buf_init(&s->log_history, STATE_MAX_BYTES);
}

void trainer_state_deinit(trainer_state *s) {
    mem_free(s->best_model_checkpoint);
    buf_deinit(&s->log_history);
}

void trainer_state_log(trainer_state *s, const buf *fields) {
    buf *b = &s->log_history;
    if (!buf_ok(fields)) {
        b->failed = true;
        return;
    }
    buf_puts(b, b->len ? ",\n    {\n      \"epoch\": " : "\n    {\n      \"epoch\": ");
    buf_json_double(b, s->epoch);
    buf_printf(b, ",\n      %s,\n      \"step\": %lld\n    }", fields->data,
               (long long)s->global_step);
}

cloze_status state_write_file(const char *dir, const char *name, const buf *b, cloze_error *err) {
    char *path = path_join(dir, name);
    cloze_status status = !path || !buf_ok(b) ? error_set(err, CLOZE_ERR_MEMORY,
                                                          "out of memory writing %s/%s", dir, name)
                                              : file_write_atomic(path, b->data, b->len, err);
    mem_free(path);
    return status;
}

cloze_status trainer_state_write(const trainer_state *s, const char *dir, cloze_error *err) {
    buf b;
    if (!buf_ok(&s->log_history)) CLOZE_FAIL(err, MEMORY, "out of memory for the log of the run");
    buf_init(&b, STATE_MAX_BYTES);
    buf_puts(&b, "{\n  \"best_metric\": ");
    buf_json_double(&b, s->best_metric);
    buf_puts(&b, ",\n  \"best_model_checkpoint\": ");
    if (s->best_model_checkpoint)
        buf_json_string(&b, s->best_model_checkpoint, strlen(s->best_model_checkpoint));
    else
        buf_puts(&b, "null");
    buf_puts(&b, ",\n  \"epoch\": ");
    buf_json_double(&b, s->epoch);
    buf_printf(&b, ",\n  \"eval_steps\": %lld,\n  \"global_step\": %lld,\n",
               (long long)s->eval_steps, (long long)s->global_step);
    buf_puts(&b, "  \"is_hyper_param_search\": false,\n  \"is_local_process_zero\": true,\n  "
                 "\"is_world_process_zero\": true,\n");
    buf_printf(&b, "  \"log_history\": [%s\n  ],\n", s->log_history.len ? s->log_history.data : "");
    buf_printf(&b, "  \"logging_steps\": %lld,\n  \"max_steps\": %lld,\n  \"num_train_epochs\": ",
               (long long)s->logging_steps, (long long)s->max_steps);
    buf_json_double(&b, s->num_train_epochs);
    buf_printf(&b, ",\n  \"save_steps\": %lld,\n", (long long)s->save_steps);
    buf_printf(&b,
               "  \"stateful_callbacks\": {\"EarlyStoppingCallback\": "
               "{\"early_stopping_patience_counter\": %lld}},\n",
               (long long)s->evaluations_without_gain);
    buf_printf(&b,
               "  \"total_flos\": 0,\n  \"train_batch_size\": %lld,\n  \"trial_name\": null,\n  "
               "\"trial_params\": null\n}\n",
               (long long)s->train_batch_size);
    cloze_status status = state_write_file(dir, "trainer_state.json", &b, err);
    buf_deinit(&b);
    return status;
}
