/* The train and eval commands from options to files. */
#include "train/run.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "model/locate.h"
#include "train/checkpoint.h"
#include "train/class_weights.h"
#include "train/output_dir.h"
#include "train/predictor.h"
#include "train/resume.h"
#include "train/state.h"
#include "train/trainer.h"

/* Everything that a run opens; closed in one place. */
typedef struct run {
    options *o;
    const cloze_callbacks *callbacks;
    data_dir dir;
    label_set labels;
    dataset train, dev, test;
    float *class_weights; /* (C), or NULL */
    classifier *c;
    session session;
    buf *all; /* all_results.json without braces */
    buf notes;
    char *resume; /* the checkpoint to train on from, or NULL */
    output_dir out;
} run;

static void run_close(run *r) {
    output_dir_close(&r->out);
    mem_free(r->resume);
    session_close(&r->session);
    classifier_destroy(r->c);
    dataset_deinit(&r->train);
    dataset_deinit(&r->dev);
    dataset_deinit(&r->test);
    label_set_deinit(&r->labels);
    mem_free(r->class_weights);
    data_dir_deinit(&r->dir);
    buf_deinit(&r->notes);
}

static void tell_notes(run *r) {
    char *line = buf_ok(&r->notes) && r->notes.len ? r->notes.data : NULL;
    while (line && *line) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        if (*line) log_line(r->callbacks, CLOZE_LOG_WARN, "%s", line);
        line = end ? end + 1 : NULL;
    }
    buf_clear(&r->notes);
}

/* ---- data ---- */

static const char *pick(const char *flag, const char *in_dir) { return flag ? flag : in_dir; }

static cloze_status find_files(run *r, cloze_error *err) {
    const options *o = r->o;
    bool all_named = o->train_file || o->dev_file || o->test_file;
    if (all_named && !OPTION_IS_SET(o, data_dir)) return CLOZE_OK;
    return data_dir_find(o->data_dir, &r->dir, err);
}

static dataset_options columns(const options *o, dataset_labelling labelling) {
    dataset_options d = {.labelling = labelling,
                         .text_column = o->text_column,
                         .text_b_column = o->text_b_column,
                         .label_column = o->label_column};
    dataset_format_from_name(o->data_format, &d.format);
    return d;
}

static cloze_status read_set(run *r, const char *path, dataset_labelling labelling,
                             const label_set *labels, dataset *out, cloze_error *err) {
    dataset_options d = columns(r->o, labelling);
    if (r->c) {
        d.usual_text_column = classifier_get_options(r->c)->text_field;
        d.usual_text_b_column = classifier_get_options(r->c)->text_b_field;
        d.pair_lines = classifier_reads_pairs(r->c);
    }
    CLOZE_TRY(dataset_read(path, &d, labels, out, err));
    if (out->labelled && labels) {
        int64_t *counts;
        MEM_NEW(err, counts, labels->n + 1);
        dataset_count_labels(out, labels, counts, &r->notes);
        mem_free(counts);
        tell_notes(r);
    }
    return CLOZE_OK;
}

/* Labels come from the label file, else from the training set. */
static cloze_status read_train_labels(run *r, cloze_error *err) {
    const char *train = pick(r->o->train_file, r->dir.train),
               *labels = pick(r->o->label_file, r->dir.label);
    if (!train)
        CLOZE_FAIL(err, DATA,
                   "%s: no train.txt (or .jsonl, .csv) to train on; or name one with --train_file",
                   r->o->data_dir);
    if (labels) {
        CLOZE_TRY(label_set_read(labels, &r->labels, &r->notes, err));
        tell_notes(r);
        return read_set(r, train, DATASET_LABELS_REQUIRED, &r->labels, &r->train, err);
    }
    CLOZE_TRY(read_set(r, train, DATASET_LABELS_REQUIRED, NULL, &r->train, err));
    CLOZE_TRY(dataset_collect_labels(&r->train, &r->labels, err));
    return dataset_assign_labels(&r->train, &r->labels, err);
}

static void tell_class_weights(run *r) {
    buf *b = &r->notes;
    if (!r->class_weights) return;
    buf_clear(b);
    for (int32_t c = 0; c < r->labels.n && c < 32; c++)
        buf_printf(b, "%s%s %.4g", c ? ", " : "", r->labels.entries[c].name,
                   (double)r->class_weights[c]);
    if (buf_ok(b))
        log_line(r->callbacks, CLOZE_LOG_INFO, "Class weights: %s%s", b->data,
                 r->labels.n > 32 ? ", ..." : "");
    buf_clear(b);
}

static cloze_status read_train(run *r, cloze_error *err) {
    CLOZE_TRY(read_train_labels(r, err));
    CLOZE_TRY(
        class_weights_make(r->o->class_weights, &r->labels, &r->train, &r->class_weights, err));
    tell_class_weights(r);
    return CLOZE_OK;
}

static cloze_status read_dev(run *r, const label_set *labels, cloze_error *err) {
    const char *dev = pick(r->o->dev_file, r->dir.dev);
    if (!dev)
        CLOZE_FAIL(err, DATA,
                   "%s: no dev.txt (or .jsonl, .csv) to evaluate on; or name one with --dev_file",
                   r->o->data_dir);
    return read_set(r, dev, DATASET_LABELS_REQUIRED, labels, &r->dev, err);
}

/* The test file, else the unlabelled one: T1 predicts test.txt. */
static cloze_status read_test(run *r, const label_set *labels, cloze_error *err) {
    const char *test = pick(r->o->test_file, r->dir.test ? r->dir.test : r->dir.unlabelled);
    if (!test)
        CLOZE_FAIL(err, DATA,
                   "%s: no test.txt (or data.txt) to label; or name one with --test_file",
                   r->o->data_dir);
    return read_set(r, test, DATASET_LABELS_AUTO, labels, &r->test, err);
}

/* ---- results ---- */

/* Writes "{fields}" to DIR/name and adds the fields to all_results.json. */
static cloze_status put_results(run *r, const char *name, const char *fields, cloze_error *err) {
    buf b;
    buf_init(&b, (size_t)64 << 20);
    buf_printf(&b, "{\n%s\n}\n", fields);
    cloze_status status = state_write_file(r->o->output_dir, name, &b, err);
    buf_deinit(&b);
    buf_printf(r->all, "%s%s", r->all->len ? ",\n" : "", fields);
    return status;
}

static cloze_status put_metrics(run *r, const metrics *m, const char *prefix, const char *file,
                                cloze_error *err) {
    buf b;
    buf_init(&b, (size_t)64 << 20);
    metrics_write_json(m, prefix, classifier_labels(r->c),
                       (int32_t)r->o->per_device_eval_batch_size, &b);
    cloze_status status = buf_ok(&b) ? put_results(r, file, b.data, err)
                                     : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    buf_deinit(&b);
    log_line(r->callbacks, CLOZE_LOG_INFO,
             "***** %s metrics ***** accuracy %.4f, macro F1 %.4f, loss %.4f (%lld examples, %.1f "
             "per second)",
             prefix, m->accuracy, m->macro_f1, m->loss, (long long)m->n,
             (double)m->n / (m->seconds > 0 ? m->seconds : 1e-9));
    return status;
}

static cloze_status put_train_results(run *r, const trainer_result *t, cloze_error *err) {
    buf b;
    buf_init(&b, 4096);
    double seconds = t->seconds > 0 ? t->seconds : 1e-9;
    const struct {
        const char *name;
        double value;
    } all[] = {
        {"epoch", t->epoch},
        {"train_loss", t->train_loss},
        {"train_runtime", t->seconds},
        {"train_samples_per_second", t->epoch * (double)r->train.n / seconds},
        {"train_steps_per_second", (double)t->steps / seconds},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buf_printf(&b, "%s  \"%s\": ", i ? ",\n" : "", all[i].name);
        buf_json_double(&b, all[i].value);
    }
    buf_printf(&b, ",\n  \"train_steps\": %lld", (long long)t->steps);
    cloze_status status = buf_ok(&b) ? put_results(r, "train_results.json", b.data, err)
                                     : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    buf_deinit(&b);
    return status;
}

/* ---- the parts of a run ---- */

/* Where the classifier is that --do_eval and --do_predict use without --do_train: a finished run,
 * else its newest checkpoint. *dir is heap. */
static cloze_status find_trained(run *r, char **dir, cloze_error *err) {
    const options *o = r->o;
    const char *flag = o->resume_from_checkpoint;
    *dir = NULL;
    if (!flag)
        CLOZE_FAIL(err, USAGE,
                   "--do_eval and --do_predict without --do_train need "
                   "--resume_from_checkpoint DIR, the output directory of a training run");
    const char *run_dir = resume_is_last(flag) ? o->output_dir : flag;
    if (!classifier_is_run_dir(run_dir)) {
        cloze_status status = checkpoint_find_newest(run_dir, dir, err);
        if (status == CLOZE_OK && *dir)
            log_line(r->callbacks, CLOZE_LOG_WARN,
                     "%s holds no finished run: using its checkpoint %s", run_dir, *dir);
        if (status != CLOZE_OK || *dir) return status;
    }
    *dir = mem_strdup(run_dir);
    return *dir ? CLOZE_OK : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
}

static cloze_status open_trained(run *r, const classifier_options *c, cloze_error *err) {
    const options *o = r->o;
    char *dir;
    CLOZE_TRY(find_trained(r, &dir, err));
    if (OPTION_IS_SET(o, method) || OPTION_IS_SET(o, prompt) || OPTION_IS_SET(o, verbalizer) ||
        OPTION_IS_SET(o, truncate_mode))
        log_line(
            r->callbacks, CLOZE_LOG_WARN,
            "method, prompt, verbalizer and truncation are those of %s; the flags are not used",
            dir);
    cloze_status status = classifier_open(dir, c, &r->c, err);
    mem_free(dir);
    return status;
}

/* How the flags and the data would have a new classifier. */
static classifier_options new_classifier(const run *r) {
    const options *o = r->o;
    bool lengths = OPTION_IS_SET(o, max_seq_length);
    return (classifier_options){
        .method = strcmp(o->method, "finetune") == 0 ? METHOD_FINETUNE : METHOD_PROMPT,
        .verbalizer = strcmp(o->verbalizer, "manual") == 0 ? VERBALIZER_MANUAL : VERBALIZER_SOFT,
        .prompt = o->prompt,
        .max_seq_length = lengths ? (int32_t)o->max_seq_length : 0,
        .do_lower_case = OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : -1,
        .truncate_left = strcmp(o->truncate_mode, "head") == 0,
        .text_field = r->train.text_column,
        .text_b_field = r->train.text_b_column,
        .has_text_b = r->train.has_text_b,
        .seed = (uint64_t)o->seed,
        .callbacks = r->callbacks,
        .base_model = o->model_name_or_path,
    };
}

static cloze_status open_classifier(run *r, cloze_error *err) {
    const options *o = r->o;
    classifier_options c = new_classifier(r);
    if (!o->do_train) return open_trained(r, &c, err);
    if (r->resume) {
        c.max_seq_length = 0; /* as trained with: the flag was compared */
        c.do_lower_case = -1;
        return classifier_open(r->resume, &c, &r->c, err);
    }
    char *dir = NULL;
    CLOZE_TRY(model_locate(o->model_name_or_path, &dir, err));
    if (strcmp(dir, o->model_name_or_path) != 0)
        log_line(r->callbacks, CLOZE_LOG_INFO, "%s is %s", o->model_name_or_path, dir);
    if (path_is_same(dir, o->output_dir)) {
        cloze_status same = error_set(
            err, CLOZE_ERR_USAGE,
            "--output_dir %s is the model that training starts from; it would be overwritten", dir);
        mem_free(dir);
        return same;
    }
    cloze_status status = classifier_create(dir, &c, &r->labels, &r->c, err);
    mem_free(dir);
    return status;
}

/* Flags that old scripts pass and that change nothing here: taken, but not in silence. */
static void tell_unused_flags(const run *r) {
    const struct {
        bool given;
        const char *name;
    } flags[] = {
        {r->o->is_set[OPTION_first_max_length] == OPTION_ARGUMENT, "first_max_length"},
        {r->o->is_set[OPTION_other_max_length] == OPTION_ARGUMENT, "other_max_length"},
        {r->o->is_set[OPTION_soft_encoder] == OPTION_ARGUMENT, "soft_encoder"},
        {r->o->is_set[OPTION_encoder_hidden_size] == OPTION_ARGUMENT, "encoder_hidden_size"},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].given)
            log_line(r->callbacks, CLOZE_LOG_WARN,
                     "--%s changes nothing: the prompt is never cut, and it has no soft parts",
                     flags[i].name);
}

static cloze_status train(run *r, cloze_error *err) {
    tell_unused_flags(r);
    trainer_result result;
    trainer_data data = {&r->train, r->dev.n ? &r->dev : NULL, r->resume, r->class_weights};
    cloze_status status = trainer_run(&r->c, &r->session, r->o, &data, r->callbacks, &result, err);
    if (status == CLOZE_OK) status = output_dir_forget_results(r->o->output_dir, err);
    if (status == CLOZE_OK) status = classifier_save(r->c, r->o->output_dir, err);
    if (status == CLOZE_OK) {
        buf args;
        buf_init(&args, 1 << 20);
        options_write_json(r->o, &args);
        status = state_write_file(r->o->output_dir, "training_args.json", &args, err);
        buf_deinit(&args);
    }
    if (status == CLOZE_OK) status = put_train_results(r, &result, err);
    mem_free(result.best_checkpoint);
    return status;
}

static cloze_status evaluate(run *r, cloze_error *err) {
    metrics m;
    CLOZE_TRY(trainer_evaluate(r->c, &r->session, &r->dev,
                               (int32_t)r->o->per_device_eval_batch_size, "eval", r->callbacks, &m,
                               NULL, err));
    classifier_tell_cut(r->c, r->dev.path, m.cut_examples, r->dev.n, m.cut_tokens);
    cloze_status status = put_metrics(r, &m, "eval", "eval_results.json", err);
    metrics_deinit(&m);
    return status;
}

static cloze_status predict(run *r, cloze_error *err) {
    prediction_set p = {0};
    CLOZE_TRY(prediction_set_make(r->c, &r->session, &r->test,
                                  (int32_t)r->o->per_device_eval_batch_size, r->callbacks, &p,
                                  err));
    classifier_tell_cut(r->c, r->test.path, p.metrics.cut_examples, r->test.n,
                        p.metrics.cut_tokens);
    cloze_status status = prediction_set_write(&p, r->c, &r->test, r->o->output_dir, err);
    if (status == CLOZE_OK && r->test.labelled)
        status = put_metrics(r, &p.metrics, "test", "test_results.json", err);
    if (status == CLOZE_OK)
        log_line(r->callbacks, CLOZE_LOG_INFO,
                 "%lld predictions are in %s/predictions.txt and predictions.jsonl",
                 (long long)r->test.n, r->o->output_dir);
    prediction_set_deinit(&p);
    return status;
}

/* Where the run is written, and whether it begins anew or goes on: before any work. */
static cloze_status prepare_output(run *r, cloze_error *err) {
    if (r->o->do_train) {
        CLOZE_TRY(resume_find(r->o, &r->resume, err));
        if (r->resume) CLOZE_TRY(resume_adopt_options(r->o, r->resume, r->callbacks, err));
    }
    CLOZE_TRY(output_dir_open_existing(&r->out, r->o->output_dir, err));
    return r->o->do_train ? output_dir_check(r->o, r->resume, err) : CLOZE_OK;
}

/* What was asked for after training was stopped: the training is not lost. */
static cloze_status tell_trained(const run *r, cloze_status status, cloze_error *err) {
    if (status == CLOZE_ERR_INTERRUPTED && r->o->do_train && err) {
        cloze_error first = *err;
        error_set(err, status,
                  "%s; the trained model is in %s (--resume_from_checkpoint %s with --do_eval or "
                  "--do_predict and without --do_train goes on)",
                  first.message, r->o->output_dir, r->o->output_dir);
    }
    return status;
}

static cloze_status run_all(run *r, cloze_error *err) {
    const options *o = r->o;
    CLOZE_TRY(prepare_output(r, err));
    CLOZE_TRY(find_files(r, err));
    if (o->do_train) CLOZE_TRY(read_train(r, err));
    if (o->do_train && o->do_eval) CLOZE_TRY(read_dev(r, &r->labels, err));
    if (o->do_train && o->do_predict) CLOZE_TRY(read_test(r, &r->labels, err));
    CLOZE_TRY(open_classifier(r, err));
    if (!o->do_train && o->do_eval) CLOZE_TRY(read_dev(r, classifier_labels(r->c), err));
    if (!o->do_train && o->do_predict) CLOZE_TRY(read_test(r, classifier_labels(r->c), err));
    CLOZE_TRY(output_dir_open(&r->out, o->output_dir, err));
    CLOZE_TRY(session_open_options(&r->session, o, err));
    if (o->do_train) CLOZE_TRY(train(r, err));
    if (o->do_eval) CLOZE_TRY(tell_trained(r, evaluate(r, err), err));
    if (o->do_predict) CLOZE_TRY(tell_trained(r, predict(r, err), err));
    return session_write_profile(&r->session, o, r->callbacks, err);
}

cloze_status train_run(options *o, const cloze_callbacks *callbacks, buf *results,
                       cloze_error *err) {
    buf all;
    buf_init(&all, (size_t)256 << 20);
    run r = {.o = o, .callbacks = callbacks, .all = &all};
    buf_init(&r.notes, 1 << 20);
    cloze_status status = run_all(&r, err);
    if (status == CLOZE_OK && !buf_ok(&all))
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the results");
    const char *quote = strchr(o->output_dir, ' ') ? "'" : ""; /* for pasting into a shell */
    if (status == CLOZE_OK) {
        buf_printf(results, "{\n%s\n}\n", all.len ? all.data : "");
        if (all.len) /* an unlabelled file has no metrics: earlier ones stay */
            status = state_write_file(o->output_dir, "all_results.json", results, err);
        if (status == CLOZE_OK && o->do_train)
            log_line(callbacks, CLOZE_LOG_INFO,
                     "Model, tokenizer and results are in %s (use it: cloze predict --model %s%s%s "
                     "--input FILE)",
                     o->output_dir, quote, o->output_dir, quote);
        else if (status == CLOZE_OK)
            log_line(callbacks, CLOZE_LOG_INFO, "Results are in %s", o->output_dir);
    }
    run_close(&r);
    buf_deinit(&all);
    return status;
}

/* ---- eval ---- */

static cloze_status eval_all(run *r, buf *results, cloze_error *err) {
    const options *o = r->o;
    metrics m;
    if (!o->model)
        CLOZE_FAIL(err, USAGE, "--model DIR is missing: the output directory of a training run");
    if (!o->input)
        CLOZE_FAIL(err, USAGE, "--input FILE is missing: labelled examples to evaluate on");
    classifier_options c = {
        .max_seq_length = OPTION_IS_SET(o, max_seq_length) ? (int32_t)o->max_seq_length : 0,
        .do_lower_case = OPTION_IS_SET(o, do_lower_case) ? o->do_lower_case : -1,
        .base_model = o->base_model,
        .callbacks = r->callbacks};
    CLOZE_TRY(classifier_open(o->model, &c, &r->c, err));
    CLOZE_TRY(
        read_set(r, o->input, DATASET_LABELS_REQUIRED, classifier_labels(r->c), &r->dev, err));
    CLOZE_TRY(session_open_options(&r->session, o, err));
    CLOZE_TRY(trainer_evaluate(r->c, &r->session, &r->dev, (int32_t)o->batch_size, "eval",
                               r->callbacks, &m, NULL, err));
    classifier_tell_cut(r->c, r->dev.path, m.cut_examples, r->dev.n, m.cut_tokens);
    buf_puts(results, "{\n");
    metrics_write_json(&m, "eval", classifier_labels(r->c), (int32_t)o->batch_size, results);
    buf_puts(results, "\n}\n");
    metrics_deinit(&m);
    if (!buf_ok(results)) CLOZE_FAIL(err, MEMORY, "out of memory for the metrics");
    return session_write_profile(&r->session, o, r->callbacks, err);
}

cloze_status eval_run(options *o, const cloze_callbacks *callbacks, buf *results,
                      cloze_error *err) {
    run r = {.o = o, .callbacks = callbacks};
    buf_init(&r.notes, 1 << 20);
    cloze_status status = eval_all(&r, results, err);
    run_close(&r);
    return status;
}

/* ---- a forecast ---- */

static cloze_status forecast_all(run *r, const char *dir, forecast *out, cloze_error *err) {
    CLOZE_TRY(find_files(r, err));
    CLOZE_TRY(read_train(r, err));
    if (r->o->do_eval) CLOZE_TRY(read_dev(r, &r->labels, err));
    forecast_source source = {.o = r->o,
                              .callbacks = r->callbacks,
                              .model_dir = dir,
                              .classifier = new_classifier(r),
                              .labels = &r->labels,
                              .train = &r->train,
                              .dev = r->dev.n ? &r->dev : NULL,
                              .class_weights = r->class_weights};
    return forecast_make(&source, out, err);
}

cloze_status forecast_run(const options *o, const cloze_callbacks *callbacks, const char *model_dir,
                          forecast *out, cloze_error *err) {
    options flags = *o; /* a run may fill in some; its strings stay the caller's */
    run r = {.o = &flags, .callbacks = callbacks};
    buf_init(&r.notes, 1 << 20);
    cloze_status status = forecast_all(&r, model_dir, out, err);
    run_close(&r);
    return status;
}
