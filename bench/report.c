/* Results: a table for people, JSON for programs, and what earlier runs found. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void sorted(const figures *f, double out[MAX_PAIRS]) {
    memcpy(out, f->value, sizeof f->value);
    qsort(out, (size_t)f->n, sizeof *out, by_size);
}

double figures_median(const figures *f) {
    double s[MAX_PAIRS];
    if (f->n == 0) return 0;
    sorted(f, s);
    return f->n % 2 ? s[f->n / 2] : (s[f->n / 2 - 1] + s[f->n / 2]) / 2;
}

/* "0.812 [0.790-0.820]" */
static void print_figures(const figures *f, int width) {
    char text[96] = "-";
    double s[MAX_PAIRS];
    if (f->n) {
        sorted(f, s);
        double m = figures_median(f);
        int digits = m >= 1000 ? 0 : m >= 100 ? 1 : m >= 10 ? 2 : 3;
        snprintf(text, sizeof text, "%.*f [%.*f-%.*f]", digits, m, digits, s[0], digits,
                 s[f->n - 1]);
    }
    printf(" %-*s", width, text);
}

void report_begin(void) {
    printf("%-22s %-8s %-26s %-26s %7s %6s %8s %7s %7s  %s\n", "case", "unit", "cloze", "peer",
           "ratio", "goal", "% limit", "MB", "peer MB", "peer is");
    fflush(stdout);
}

void report_line(const result *r) {
    printf("%-22s %-8s", r->c->name, case_unit(r->c));
    print_figures(&r->own, 26);
    print_figures(&r->peer, 26);
    if (r->ratio > 0)
        printf(" %6.2f%s", r->ratio, r->stored ? "*" : "x");
    else
        printf(" %7s", "-");
    if (r->c->goal > 0)
        printf(" %6.2f", r->c->goal);
    else
        printf(" %6s", "-");
    if (r->percent > 0)
        printf(" %7.0f%%", r->percent);
    else
        printf(" %8s", "-");
    printf(" %7.0f", r->own.peak_mb);
    if (r->peer.n)
        printf(" %7.0f", r->peer.peak_mb);
    else
        printf(" %7s", "-");
    printf("  %s%s%s", r->c->peer ? r->c->peer : "", r->stored ? "; * ratio of " : "",
           r->stored ? r->stored_note : "");
    if (r->c->memory_goal > 0 && r->peer.n)
        printf("; memory %.2fx, goal at most %.2fx", r->own.peak_mb / r->peer.peak_mb,
               r->c->memory_goal);
    putchar('\n');
    fflush(stdout);
}

/* ---- JSON ---- */

static cJSON *figures_json(const figures *f) {
    double s[MAX_PAIRS];
    if (f->n == 0) return cJSON_CreateNull();
    sorted(f, s);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "median", figures_median(f));
    cJSON_AddNumberToObject(o, "min", s[0]);
    cJSON_AddNumberToObject(o, "max", s[f->n - 1]);
    cJSON_AddItemToObject(o, "values", cJSON_CreateDoubleArray(f->value, f->n));
    cJSON_AddNumberToObject(o, "peak_mb", f->peak_mb);
    return o;
}

static void machine_name(char *out, size_t size) {
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f) fclose(f);
}

static cJSON *result_json(const result *r, const workload *w) {
    char machine[256], date[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", localtime(&now));
    machine_name(machine, sizeof machine);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "case", r->c->name);
    cJSON_AddStringToObject(o, "unit", case_unit(r->c));
    cJSON_AddItemToObject(o, "cloze", figures_json(&r->own));
    cJSON_AddItemToObject(o, "peer", figures_json(&r->peer));
    if (r->c->peer) cJSON_AddStringToObject(o, "peer_is", r->c->peer);
    if (r->peer.n) cJSON_AddNumberToObject(o, "ratio", r->ratio);
    if (r->c->goal > 0) cJSON_AddNumberToObject(o, "goal", r->c->goal);
    if (r->percent > 0) {
        cJSON_AddNumberToObject(o, "percent_of_limit", r->percent);
        cJSON_AddNumberToObject(o, "limit_gflops", r->limit);
    }
    cJSON_AddNumberToObject(o, "cores_busy_elsewhere", r->others);
    cJSON_AddStringToObject(o, "texts", w->source);
    cJSON_AddStringToObject(o, "machine", machine);
    cJSON_AddStringToObject(o, "date", date);
    return o;
}

/* A file of results, or NULL. */
static cJSON *read_results(const char *path) {
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    if (!f) return NULL;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    cJSON *list = cJSON_Parse(text);
    if (cJSON_IsArray(list)) return list;
    cJSON_Delete(list);
    return NULL;
}

static int find_case(const cJSON *list, const char *name) {
    for (int i = 0; i < cJSON_GetArraySize(list); i++) {
        const cJSON *c = cJSON_GetObjectItem(cJSON_GetArrayItem(list, i), "case");
        if (cJSON_IsString(c) && strcmp(c->valuestring, name) == 0) return i;
    }
    return -1;
}

bool report_write(const char *path, const workload *w, const result *r) {
    cJSON *list = read_results(path);
    if (!list) list = cJSON_CreateArray();
    int at = find_case(list, r->c->name);
    if (at >= 0)
        cJSON_ReplaceItemInArray(list, at, result_json(r, w));
    else
        cJSON_AddItemToArray(list, result_json(r, w));
    char *text = cJSON_Print(list);
    FILE *f = text ? fopen(path, "w") : NULL;
    bool ok = f && fputs(text, f) >= 0 && fputc('\n', f) >= 0;
    ok = f && fclose(f) == 0 && ok;
    if (!ok) fprintf(stderr, "bench: cannot write %s\n", path);
    cJSON_free(text);
    cJSON_Delete(list);
    return ok;
}

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    return cJSON_IsString(item) ? item->valuestring : "?";
}

bool stored_find(const workload *w, const char *name, double *ratio, char *note, size_t size) {
    char path[PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/bench/stored.json", w->root);
    cJSON *list = read_results(path);
    int at = list ? find_case(list, name) : -1;
    const cJSON *r = at >= 0 ? cJSON_GetArrayItem(list, at) : NULL,
                *v = cJSON_GetObjectItem(r, "ratio");
    bool found = cJSON_IsNumber(v);
    if (found) {
        *ratio = v->valuedouble;
        snprintf(note, size, "%s, %s", text_of(r, "date"), text_of(r, "machine"));
    }
    cJSON_Delete(list);
    return found;
}
