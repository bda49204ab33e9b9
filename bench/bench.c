/* The benchmark program: see bench.h, and ./run bench --help. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define READY_SECONDS 600

typedef struct run {
    workload w;
    char self[PATH_BYTES];
    const char *peers; /* folder of the peers' environments, or NULL: without peers */
    int pairs;
    double busy; /* cores that others may use: a pair in a busier time is measured again */
} run;

static void usage(void) {
    puts("usage: ./run bench [--peers] [--pairs N] [--no-peers] [CASE...]\n\n"
         "Measures cloze and its peers in turn on the same weights and token ids. Without a CASE all\n"
         "are measured; a name's beginning selects several (train, predict_base).\n\n"
         "  --peers     install the peers first, into build/peers or $CLOZE_PEERS (about 12 GB)\n"
         "  --no-peers  cloze alone, although peers are installed\n"
         "  --pairs N   slices of each, A B B A A B ... (5)\n"
         "  --busy X    cores that other processes may use while a pair is measured (0.1); a pair in a\n"
         "              busier time is measured again, up to three times as many pairs in all\n"
         "  --list      the cases, their peers and goals\n"
         "  --limit     how fast this machine multiplies the models' matrices\n");
}

static void list_cases(void) {
    for (int i = 0; i < n_bench_cases; i++) {
        const bench_case *c = &bench_cases[i];
        printf("%-22s %-8s %s", c->name, case_unit(c), c->peer ? c->peer : "(no peer)");
        if (c->goal > 0) printf(", goal %.2fx", c->goal);
        putchar('\n');
    }
}

/* ---- peers ---- */

static bool file_there(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

typedef struct command {
    char python[PATH_BYTES], script[PATH_BYTES], args[512];
    char *argv[32];
} command;

/* python bench/peers/SCRIPT ARGS.. --model RUN --ids IDS --batch N --slice N --answers FILE --work DIR */
static bool peer_command(const run *r, const bench_case *c, const char *run_dir, const char *ids,
                         command *out) {
    static char batch[16], slice[16], answers[PATH_BYTES + 128];
    if (snprintf(out->python, PATH_BYTES, "%s/%s/bin/python", r->peers, c->peer_venv) >= PATH_BYTES)
        return false;
    if (!file_there(out->python)) return false;
    snprintf(out->args, sizeof out->args, "%s", c->peer_args);
    int n = 0;
    out->argv[n++] = out->python;
    for (char *word = strtok(out->args, " "); word && n < 16; word = strtok(NULL, " ")) {
        if (n == 1) {
            if (snprintf(out->script, PATH_BYTES, "%s/bench/peers/%s", r->w.root, word) >= PATH_BYTES)
                return false;
            word = out->script;
        }
        out->argv[n++] = word;
    }
    snprintf(batch, sizeof batch, "%d", c->batch_size);
    snprintf(slice, sizeof slice, "%d", c->slice);
    snprintf(answers, sizeof answers, "%s/answers-%s-peer.f32", r->w.dir, c->name);
    const char *more[] = {"--model", run_dir, "--ids", ids, "--batch", batch, "--slice", slice,
                          "--answers", answers, "--work", r->w.dir, NULL};
    for (int i = 0; more[i]; i++) out->argv[n++] = (char *)more[i];
    out->argv[n] = NULL;
    return true;
}

/* What the peers' best figures need of the environment; cloze gets none of it. */
static char *const peer_environment[] = {
    "HF_HUB_OFFLINE=1", "CUDA_VISIBLE_DEVICES=", "TOKENIZERS_PARALLELISM=true",
    "PYTHONDONTWRITEBYTECODE=1", NULL};
static char *const tuned_environment[] = {
    "HF_HUB_OFFLINE=1", "CUDA_VISIBLE_DEVICES=",
    "GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456",
    "PYTHONDONTWRITEBYTECODE=1", NULL};

static char *const *environment_of(const bench_case *c) {
    return strstr(c->peer_args, "--tuned") ? tuned_environment : peer_environment;
}

/* ---- pairs ---- */

static void log_path(const run *r, const bench_case *c, const char *who, char path[PATH_BYTES]) {
    char dir[PATH_BYTES];
    snprintf(dir, sizeof dir, "%.*s/log", PATH_BYTES - 200, r->w.dir);
    mkdir(dir, 0777);
    snprintf(path, PATH_BYTES, "%.*s/%s-%s.log", PATH_BYTES - 150, dir, c->name, who);
}

static bool start_worker(const run *r, const bench_case *c, process *p) {
    char log[PATH_BYTES];
    char *argv[] = {(char *)r->self, "--worker", (char *)r->w.root, (char *)c->name, NULL};
    char *const environment[] = {"GOMP_SPINCOUNT=1000", NULL}; /* as the program sets it */
    log_path(r, c, "cloze", log);
    if (process_start(p, argv, environment, log)) return true;
    fprintf(stderr, "bench: %s: see %s\n", c->name, log);
    return false;
}

static bool await_ready(const run *r, const bench_case *c, const char *who, process *p) {
    char line[256] = "", log[PATH_BYTES];
    if (process_line(p, line, sizeof line, READY_SECONDS) && strcmp(line, "ready") == 0) return true;
    log_path(r, c, who, log);
    fprintf(stderr, "bench: %s: %s did not start; see %s\n", c->name, who, log);
    return false;
}

static void note(figures *f, const bench_case *c, double seconds, double units) {
    f->value[f->n++] = case_is_time(c) ? seconds / units * 1e3 : units / seconds;
}

static bool one_slice(const bench_case *c, process *p, figures *f) {
    double seconds, units;
    if (!process_slice(p, &seconds, &units)) {
        fprintf(stderr, "bench: %s: a worker ended early\n", c->name);
        return false;
    }
    note(f, c, seconds, units);
    f->peak_mb = process_peak_mb(p);
    return true;
}

/* How far two answers to the same inputs are apart: the largest difference of probabilities. */
static void compare_answers(const run *r, const bench_case *c) {
    char path[2][PATH_BYTES];
    float a, b, largest = 0;
    long n = 0;
    for (int i = 0; i < 2; i++)
        snprintf(path[i], PATH_BYTES, "%.*s/answers-%s-%s.f32", PATH_BYTES - 100, r->w.dir, c->name,
                 i ? "peer" : "cloze");
    FILE *f = fopen(path[0], "rb"), *g = fopen(path[1], "rb");
    while (f && g && fread(&a, sizeof a, 1, f) == 1 && fread(&b, sizeof b, 1, g) == 1) {
        float d = a > b ? a - b : b - a;
        if (d > largest) largest = d;
        n++;
    }
    if (f) fclose(f);
    if (g) fclose(g);
    if (n)
        fprintf(stderr, "bench: %s: %ld probabilities, largest difference between the two %.2g\n",
                c->name, n, (double)largest);
}

/* What a training worker wrote. */
static void remove_output(const run *r, int pid) {
    char path[PATH_BYTES], log[PATH_BYTES];
    double seconds;
    char *argv[] = {"rm", "-rf", path, NULL};
    snprintf(path, sizeof path, "%.*s/out-%d", PATH_BYTES - 32, r->w.dir, pid);
    snprintf(log, sizeof log, "%.*s/log/rm.log", PATH_BYTES - 32, r->w.dir);
    process_run(argv, NULL, log, &seconds, NULL);
}

/* A slice of each, or of cloze alone; `first` says whether cloze goes first. */
static bool one_pair(const bench_case *c, process *own, process *peer, bool *with_peer, bool first,
                     result *out) {
    bool ok = true;
    if (first || !*with_peer) ok = one_slice(c, own, &out->own);
    if (ok && *with_peer) *with_peer = one_slice(c, peer, &out->peer);
    if (ok && !first && *with_peer) ok = one_slice(c, own, &out->own);
    return ok;
}

/* Pairs until r->pairs of them were undisturbed, or three times as many were measured; then the
 * disturbed ones count. */
static bool all_pairs(const run *r, const bench_case *c, process *own, process *peer,
                      bool *with_peer, result *out) {
    double others = 0;
    int left = 3 * r->pairs;
    bool ok = true;
    while (ok && out->own.n < r->pairs && left > 0) {
        figures before[2] = {out->own, out->peer};
        double wall = wall_clock(),
               busy = machine_cpu() - process_cpu(own->pid) - process_cpu(peer->pid);
        ok = one_pair(c, own, peer, with_peer, out->own.n % 2 == 0, out);
        busy = machine_cpu() - process_cpu(own->pid) - process_cpu(peer->pid) - busy;
        busy /= wall_clock() - wall;
        left--;
        if (busy > r->busy && left >= r->pairs - before[0].n) {
            out->own.n = before[0].n;
            out->peer.n = before[1].n;
            continue;
        }
        others += busy;
    }
    if (out->own.n) out->others = others / out->own.n;
    if (out->others > r->busy)
        fprintf(stderr, "bench: %s: other processes kept %.1f cores busy: not a clean figure\n",
                c->name, out->others);
    return ok;
}

/* Slices of both in turn; which one goes first alternates. */
static bool measure_workers(run *r, const bench_case *c, result *out, const char *run_dir,
                            const char *ids) {
    process own = {.pid = -1, .in = -1, .out = -1}, peer = own;
    command cmd;
    char log[PATH_BYTES];
    bool ok = start_worker(r, c, &own) && await_ready(r, c, "cloze", &own);
    bool with_peer = ok && r->peers && c->peer_args && peer_command(r, c, run_dir, ids, &cmd);
    if (with_peer) {
        log_path(r, c, "peer", log);
        with_peer = process_start(&peer, cmd.argv, environment_of(c), log) &&
                    await_ready(r, c, "peer", &peer);
    }
    ok = ok && all_pairs(r, c, &own, &peer, &with_peer, out);
    if (with_peer && (c->kind == CASE_PREDICT || c->kind == CASE_LATENCY)) compare_answers(r, c);
    int pid = own.pid;
    process_stop(&own);
    process_stop(&peer);
    remove_output(r, pid);
    return ok;
}

/* Whole processes in turn. */
static bool measure_cold(run *r, const bench_case *c, result *out, const char *run_dir,
                         const char *ids) {
    char program[PATH_BYTES], input[PATH_BYTES], log[PATH_BYTES];
    command cmd;
    double seconds;
    snprintf(program, sizeof program, "%.*s/build/cloze", PATH_BYTES - 16, r->w.root);
    snprintf(input, sizeof input, "%.*s/one.txt", PATH_BYTES - 16, r->w.dir);
    FILE *f = fopen(input, "w");
    if (!f) return false;
    fprintf(f, "%s\n", r->w.titles[0]);
    fclose(f);
    char *argv[] = {program, "predict", "--model", (char *)run_dir, "--input", input, NULL};
    bool with_peer = r->peers && peer_command(r, c, run_dir, ids, &cmd);
    for (int i = -1; i < r->pairs; i++) { /* the first pair warms the page cache */
        figures *own = i < 0 ? &(figures){0} : &out->own, *peer = i < 0 ? &(figures){0} : &out->peer;
        log_path(r, c, "cloze", log);
        if (!process_run(argv, NULL, log, &seconds, &own->peak_mb)) {
            fprintf(stderr, "bench: %s: see %s\n", c->name, log);
            return false;
        }
        note(own, c, seconds, 1);
        log_path(r, c, "peer", log);
        if (!with_peer) continue;
        if (!process_run(cmd.argv, environment_of(c), log, &seconds, &peer->peak_mb)) {
            fprintf(stderr, "bench: %s: see %s\n", c->name, log);
            with_peer = false;
            continue;
        }
        note(peer, c, seconds, 1);
    }
    return true;
}

/* `cloze predict` on a file of many lines, once. */
static bool measure_stream(run *r, const bench_case *c, result *out) {
    char run_dir[PATH_BYTES], lines[PATH_BYTES], program[PATH_BYTES], log[PATH_BYTES],
        answers[PATH_BYTES];
    double seconds;
    if (!workload_run_dir(&r->w, c->shape, run_dir) || !workload_lines(&r->w, c->slice, lines))
        return false;
    snprintf(program, sizeof program, "%.*s/build/cloze", PATH_BYTES - 16, r->w.root);
    snprintf(answers, sizeof answers, "%.*s/stream.txt", PATH_BYTES - 16, r->w.dir);
    log_path(r, c, "cloze", log);
    char *argv[] = {program, "predict", "--model", run_dir, "--input", lines, "--output", answers,
                    "--bf16", NULL};
    if (!process_run(argv, NULL, log, &seconds, &out->own.peak_mb)) return false;
    note(&out->own, c, seconds, c->slice);
    unlink(answers);
    return true;
}

/* Megabytes that `du` counts; 0 when it fails. */
static double disk_megabytes(const char *shell_command) {
    double kb = 0;
    FILE *f = popen(shell_command, "r");
    if (!f) return 0;
    if (fscanf(f, "%lf", &kb) != 1) kb = 0;
    pclose(f);
    return kb / 1024;
}

/* The program, stripped, with every shared library but the C library's own; for the peer its
 * environment's packages without pip's. */
static bool measure_size(run *r, const bench_case *c, result *out) {
    char text[3 * PATH_BYTES];
    snprintf(text, sizeof text,
             "d=$(mktemp -d) && cp '%s/build/cloze' $d/cloze && strip $d/cloze && ldd '%s/build/cloze' | "
             "awk '$3 ~ /^\\// {print $3}' | grep -vE '/(libc|libm|ld-linux|libpthread|libdl|librt)[-.]' "
             "| xargs -I{} cp -L {} $d && du -sk $d; rm -rf $d",
             r->w.root, r->w.root);
    double own = disk_megabytes(text);
    if (own <= 0) return false;
    out->own.value[out->own.n++] = own;
    if (!r->peers) return true;
    snprintf(text, sizeof text,
             "du -sk --exclude=pip --exclude='pip-*' --exclude=setuptools --exclude='setuptools-*' "
             "--exclude=__pycache__ '%s/%s/lib' 2>/dev/null",
             r->peers, c->peer_venv);
    double peer = disk_megabytes(text);
    if (peer > 0) out->peer.value[out->peer.n++] = peer;
    return true;
}

/* ---- a case ---- */

/* Medians of the ratios of pairs, above 1 when cloze is better. */
static double ratio_of(const bench_case *c, const result *r) {
    figures ratios = {.n = r->own.n < r->peer.n ? r->own.n : r->peer.n};
    for (int i = 0; i < ratios.n; i++)
        ratios.value[i] = case_is_time(c) ? r->peer.value[i] / r->own.value[i]
                                          : r->own.value[i] / r->peer.value[i];
    return figures_median(&ratios);
}

static void add_limit(const bench_case *c, double n_tokens, int n_texts, result *out) {
    const shape_info *s = shape_find(c->shape);
    if (!s || c->kind == CASE_LOAD || c->kind == CASE_COLD || out->own.n == 0) return;
    double per_call = c->batch_size < n_texts ? c->batch_size : n_texts;
    double flops = case_flops(c, n_tokens, n_texts); /* of a slice */
    if (flops <= 0) return;
    out->limit = limit_layer(s, (int)(n_tokens / n_texts * per_call + 0.5), c->bf16);
    double median = figures_median(&out->own);
    double units = c->kind == CASE_TRAIN ? c->slice : n_texts;
    double per_second = c->kind == CASE_LATENCY ? 1e3 / median : median;
    if (out->limit > 0) out->percent = 100 * flops / units * per_second * 1e-9 / out->limit;
}

static bool measure(run *r, const bench_case *c, result *out) {
    char run_dir[PATH_BYTES] = "", ids[PATH_BYTES] = "";
    double n_tokens = 0;
    int n_texts;
    *out = (result){.c = c};
    fprintf(stderr, "bench: %s\n", c->name);
    if (c->kind != CASE_STREAM && c->kind != CASE_SIZE && c->kind != CASE_TOKENIZE &&
        (!workload_run_dir(&r->w, c->shape, run_dir) ||
         !workload_ids(&r->w, c, ids, &n_tokens)))
        return false;
    if (c->kind == CASE_TOKENIZE &&
        (!workload_model(&r->w, c->shape, run_dir) || !workload_lines(&r->w, c->slice, ids)))
        return false;
    workload_texts(&r->w, c, &n_texts);
    bool ok = c->kind == CASE_COLD     ? measure_cold(r, c, out, run_dir, ids)
              : c->kind == CASE_STREAM ? measure_stream(r, c, out)
              : c->kind == CASE_SIZE   ? measure_size(r, c, out)
                                       : measure_workers(r, c, out, run_dir, ids);
    if (!ok) return false;
    if (out->peer.n)
        out->ratio = ratio_of(c, out);
    else
        out->stored = stored_find(&r->w, c->name, &out->ratio, out->stored_note,
                                  sizeof out->stored_note);
    add_limit(c, n_tokens, n_texts, out);
    return true;
}

/* ---- the command line ---- */

static bool selected(const bench_case *c, char **names, int n) {
    for (int i = 0; i < n; i++) {
        bool exact = false;
        for (int k = 0; k < n_bench_cases; k++)
            exact = exact || strcmp(bench_cases[k].name, names[i]) == 0;
        if (exact ? strcmp(c->name, names[i]) == 0
                  : strncmp(c->name, names[i], strlen(names[i])) == 0)
            return true;
    }
    return n == 0;
}

static int run_cases(run *r, char **names, int n_names) {
    static result one;
    char json[PATH_BYTES];
    int done = 0, failed = 0;
    snprintf(json, sizeof json, "%.*s/build/bench.json", PATH_BYTES - 32, r->w.root);
    fprintf(stderr, "bench: texts of %s; %s\n", r->w.source,
            r->peers ? r->peers : "no peers (install them with --peers)");
    report_begin();
    for (int i = 0; i < n_bench_cases; i++) {
        if (!selected(&bench_cases[i], names, n_names)) continue;
        if (!measure(r, &bench_cases[i], &one)) {
            failed++;
            continue;
        }
        report_line(&one);
        if (!report_write(json, &r->w, &one)) return 1;
        done++;
    }
    if (done + failed == 0) {
        fprintf(stderr, "bench: no case is named so (--list lists them)\n");
        return 2;
    }
    return failed ? 1 : 0;
}

/* The product rates that percentages are of. */
static int print_limits(void) {
    static const char *const NAMES[] = {"base", "small"};
    static const int ROWS[] = {37, 512, 1184, 4096};
    puts("GFLOP/s of oneDNN's products, all cores, weights packed: a layer's forward pass\n"
         "shape    rows  float32     bf16");
    for (int s = 0; s < 2; s++)
        for (int r = 0; r < 4; r++)
            printf("%-7s %5d %8.0f %8.0f\n", NAMES[s], ROWS[r],
                   limit_layer(shape_find(NAMES[s]), ROWS[r], false),
                   limit_layer(shape_find(NAMES[s]), ROWS[r], true));
    return 0;
}

static int start_as_worker(char **argv) {
    workload w;
    for (int i = 0; i < n_bench_cases; i++) {
        if (strcmp(bench_cases[i].name, argv[3]) != 0) continue;
        if (!workload_open(&w, argv[2])) return 1;
        return worker_main(&w, &bench_cases[i]);
    }
    return 2;
}

/* run.sh passes the repository's root first. */
int main(int argc, char **argv) {
    run r = {.pairs = 5, .busy = 0.1, .peers = getenv("CLOZE_PEERS")};
    static char peers[PATH_BYTES];
    char *names[64];
    int n_names = 0;
    if (argc == 4 && strcmp(argv[1], "--worker") == 0) return start_as_worker(argv);
    if (argc < 2) return 2;
    if (!r.peers) {
        snprintf(peers, sizeof peers, "%.*s/build/peers", PATH_BYTES - 16, argv[1]);
        r.peers = file_there(peers) ? peers : NULL;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) return list_cases(), 0;
        if (strcmp(argv[i], "--limit") == 0) return print_limits();
        if (strcmp(argv[i], "--help") == 0) return usage(), 0;
        if (strcmp(argv[i], "--no-peers") == 0) {
            r.peers = NULL;
        } else if (strcmp(argv[i], "--pairs") == 0 && i + 1 < argc) {
            r.pairs = (int)strtol(argv[++i], NULL, 10);
            if (r.pairs < 1 || r.pairs > MAX_PAIRS) {
                fprintf(stderr, "bench: --pairs is 1..%d\n", MAX_PAIRS);
                return 2;
            }
        } else if (strcmp(argv[i], "--busy") == 0 && i + 1 < argc) {
            r.busy = strtod(argv[++i], NULL);
        } else if (argv[i][0] == '-' || n_names == 64) {
            fprintf(stderr, "bench: %s is not known (--help)\n", argv[i]);
            return 2;
        } else {
            names[n_names++] = argv[i];
        }
    }
    ssize_t n = readlink("/proc/self/exe", r.self, sizeof r.self - 1);
    if (n <= 0 || !workload_open(&r.w, argv[1])) return 1;
    int code = run_cases(&r, names, n_names);
    workload_close(&r.w);
    return code;
}
