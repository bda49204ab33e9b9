/* cloze's side of a case: prepares, says "ready", then does a slice for each "go". */
#include <cloze.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static int fail(const char *what, const cloze_error *error) {
    fprintf(stderr, "bench: %s: %s\n", what, error->message);
    return 1;
}

/* Waits for the next "go"; false at the end of input. */
static bool wait_go(void) {
    char line[16];
    return fgets(line, sizeof line, stdin) != NULL;
}

static void say(double seconds, double units) {
    printf("%.9f %.0f\n", seconds, units);
    fflush(stdout);
}

static void say_ready(void) {
    puts("ready");
    fflush(stdout);
}

/* ---- training: `cloze train` itself, held between steps ---- */

typedef struct train_state {
    int slice, step; /* steps of a slice; steps done in this one */
    bool warm;
    double begin;
} train_state;

/* Polled after each step: between two slices it waits. The first slice warms up. */
static int after_step(void *user) {
    train_state *t = user;
    if (++t->step < t->slice) return 0;
    if (t->warm)
        say(wall_clock() - t->begin, t->slice);
    else
        say_ready();
    if (!wait_go()) _exit(0); /* no last checkpoint is wanted */
    t->warm = true;
    t->step = 0;
    t->begin = wall_clock();
    return 0;
}

static int train(const workload *w, const bench_case *c) {
    char model[PATH_BYTES], data[PATH_BYTES], out[PATH_BYTES + 64], size[16];
    train_state state = {.slice = c->slice};
    cloze_callbacks callbacks = {.user = &state, .interrupted = after_step};
    cloze_error error = {CLOZE_OK, ""};
    if (!workload_model(w, c->shape, model) || !workload_data(w, c, data)) return 1;
    snprintf(out, sizeof out, "%s/out-%d", w->dir, (int)getpid());
    snprintf(size, sizeof size, "%d", c->batch_size);
    char *values[32] = {"--do_train", "--data_dir", data, "--model_name_or_path", model,
                        "--output_dir", out, "--prompt", WORKLOAD_PROMPT, "--max_steps", "1000000",
                        "--save_strategy", "no", "--logging_steps", "1000000",
                        "--per_device_train_batch_size", size, "--max_seq_length", "512",
                        "--learning_rate", "3e-5", "--ppt_learning_rate", "3e-4"};
    int n = 23;
    if (c->bf16) values[n++] = "--bf16";
    if (c->frozen) values[n++] = "--freeze_plm";
    cloze_args args = {n, values};
    cloze_train(args, &callbacks, NULL, &error);
    return fail("train", &error); /* after_step ends the process before the last step */
}

/* ---- prediction ---- */

typedef struct predict_state {
    cloze_predictor *p;
    cloze_input *inputs;
    float *probabilities; /* (n, labels) */
    int n, batch, labels;
} predict_state;

static cloze_status predict_all(predict_state *s, cloze_error *error) {
    cloze_status status = CLOZE_OK;
    for (int i = 0; i < s->n && status == CLOZE_OK; i += s->batch) {
        size_t n = (size_t)(s->n - i < s->batch ? s->n - i : s->batch);
        status = cloze_predictor_run_inputs(s->p, s->inputs + i, n,
                                            s->probabilities + (size_t)i * (size_t)s->labels, error);
    }
    return status;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median time of single texts. */
static cloze_status predict_one_by_one(predict_state *s, double *times, cloze_error *error) {
    for (int i = 0; i < s->n; i++) {
        double begin = wall_clock();
        cloze_status status =
            cloze_predictor_run_inputs(s->p, s->inputs + i, 1, s->probabilities, error);
        if (status != CLOZE_OK) return status;
        times[i] = wall_clock() - begin;
    }
    qsort(times, (size_t)s->n, sizeof *times, by_size);
    return CLOZE_OK;
}

/* For comparison with what the peer answers. */
static bool write_answers(const workload *w, const bench_case *c, const predict_state *s) {
    char path[PATH_BYTES + 128];
    snprintf(path, sizeof path, "%s/answers-%s-cloze.f32", w->dir, c->name);
    FILE *f = fopen(path, "wb");
    size_t n = (size_t)s->n * (size_t)s->labels;
    bool ok = f && fwrite(s->probabilities, sizeof *s->probabilities, n, f) == n;
    return f && fclose(f) == 0 && ok;
}

static int predict(const workload *w, const bench_case *c) {
    char run[PATH_BYTES];
    cloze_error error = {CLOZE_OK, ""};
    cloze_predictor_options options = {.bf16 = c->bf16};
    predict_state s = {.batch = c->batch_size};
    char **texts = workload_texts(w, c, &s.n);
    if (!workload_run_dir(w, c->shape, run)) return 1;
    if (cloze_predictor_open(run, &options, &s.p, &error) != CLOZE_OK ||
        cloze_predictor_encode(s.p, (const char *const *)texts, NULL, (size_t)s.n, &s.inputs,
                               &error) != CLOZE_OK)
        return fail(run, &error);
    s.labels = cloze_predictor_label_count(s.p);
    s.probabilities = calloc((size_t)s.n * (size_t)s.labels, sizeof *s.probabilities);
    double *times = calloc((size_t)s.n, sizeof *times);
    if (!s.probabilities || !times) return 1;
    if (predict_all(&s, &error) != CLOZE_OK) return fail(run, &error);
    if (!write_answers(w, c, &s)) return 1;
    say_ready();
    while (wait_go()) {
        double begin = wall_clock();
        cloze_status status = c->kind == CASE_LATENCY ? predict_one_by_one(&s, times, &error)
                                                      : predict_all(&s, &error);
        if (status != CLOZE_OK) return fail(run, &error);
        if (c->kind == CASE_LATENCY)
            say(times[s.n / 2], 1);
        else
            say(wall_clock() - begin, s.n);
    }
    free(times);
    free(s.probabilities);
    cloze_inputs_free(s.inputs);
    cloze_predictor_close(s.p);
    return 0;
}

/* From nothing to the first answer within a process. */
static int load(const workload *w, const bench_case *c) {
    char run[PATH_BYTES];
    cloze_error error = {CLOZE_OK, ""};
    float probabilities[256];
    if (!workload_run_dir(w, c->shape, run)) return 1;
    const char *text = w->titles[0];
    for (bool first = true; first || wait_go(); first = false) {
        double begin = wall_clock();
        cloze_predictor *p = NULL;
        if (cloze_predictor_open(run, NULL, &p, &error) != CLOZE_OK ||
            cloze_predictor_run(p, &text, NULL, 1, probabilities, &error) != CLOZE_OK)
            return fail(run, &error);
        double seconds = wall_clock() - begin;
        cloze_predictor_close(p);
        if (first)
            say_ready();
        else
            say(seconds, 1);
    }
    return 0;
}

/* ---- tokenizing: `cloze tokenize --json` of a file, ids, tokens and offsets ---- */

static int drop(void *user, const char *text, size_t n) {
    *(size_t *)user += n;
    return 0;
}

static int tokenize(const workload *w, const bench_case *c) {
    char model[PATH_BYTES], lines[PATH_BYTES];
    cloze_error error = {CLOZE_OK, ""};
    size_t bytes = 0;
    if (!workload_model(w, c->shape, model) || !workload_lines(w, c->slice, lines)) return 1;
    char *values[] = {"--model", model, "--input", lines, "--json"};
    cloze_args args = {5, values};
    for (bool first = true; first || wait_go(); first = false) {
        double begin = wall_clock();
        if (cloze_tokenize(args, NULL, drop, &bytes, &error) != CLOZE_OK)
            return fail(lines, &error);
        if (first)
            say_ready();
        else
            say(wall_clock() - begin, c->slice);
    }
    return 0;
}

int worker_main(const workload *w, const bench_case *c) {
    switch (c->kind) {
    case CASE_TRAIN: return train(w, c);
    case CASE_PREDICT:
    case CASE_LATENCY: return predict(w, c);
    case CASE_LOAD: return load(w, c);
    case CASE_TOKENIZE: return tokenize(w, c);
    default: fprintf(stderr, "bench: %s has no worker\n", c->name); return 1;
    }
}
