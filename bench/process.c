/* Starting processes and talking to them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define SLICE_SECONDS 900

extern char **environ;

double wall_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Our environment and more; free(). */
static char **with_environment(char *const more[]) {
    size_t n = 0, m = 0;
    while (environ[n]) n++;
    while (more && more[m]) m++;
    char **all = calloc(n + m + 1, sizeof *all);
    for (size_t i = 0; all && i < m; i++) all[i] = more[i]; /* the first of two names counts */
    for (size_t i = 0; all && i < n; i++) all[m + i] = environ[i];
    return all;
}

static bool spawn(int *pid, char *const argv[], char *const environment[], const char *log, int in,
                  int out) {
    posix_spawn_file_actions_t actions;
    char **all = with_environment(environment);
    posix_spawn_file_actions_init(&actions);
    if (in >= 0) posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (in < 0) posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (out >= 0) posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC,
                                     0666);
    if (out < 0) posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    int code = all ? posix_spawnp(pid, argv[0], &actions, NULL, argv, all) : ENOMEM;
    posix_spawn_file_actions_destroy(&actions);
    free(all);
    if (code) fprintf(stderr, "bench: %s: %s\n", argv[0], strerror(code));
    return code == 0;
}

bool process_start(process *p, char *const argv[], char *const environment[], const char *log) {
    int to[2], from[2];
    *p = (process){.pid = -1, .in = -1, .out = -1};
    signal(SIGPIPE, SIG_IGN); /* a worker that ended shows in the answer that does not come */
    if (pipe2(to, O_CLOEXEC) != 0) return false;
    if (pipe2(from, O_CLOEXEC) != 0) {
        close(to[0]);
        close(to[1]);
        return false;
    }
    bool ok = spawn(&p->pid, argv, environment, log, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    p->in = to[1];
    p->out = from[0];
    if (!ok) process_stop(p);
    return ok;
}

bool process_line(process *p, char *line, size_t size, double seconds) {
    double end = wall_clock() + seconds;
    size_t n = 0;
    while (n + 1 < size) {
        struct pollfd fd = {.fd = p->out, .events = POLLIN};
        double left = end - wall_clock();
        if (left <= 0 || poll(&fd, 1, (int)(left * 1e3) + 1) <= 0) return false;
        if (read(p->out, line + n, 1) != 1) return false;
        if (line[n] == '\n') break;
        n++;
    }
    line[n] = 0;
    return true;
}

bool process_slice(process *p, double *seconds, double *units) {
    char line[256];
    return write(p->in, "go\n", 3) == 3 && process_line(p, line, sizeof line, SLICE_SECONDS) &&
           sscanf(line, "%lf %lf", seconds, units) == 2 && *seconds > 0;
}

double process_peak_mb(process *p) {
    char path[64], line[256];
    double kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", p->pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf", &kb) == 1) p->peak_mb = kb / 1024;
    if (f) fclose(f);
    return p->peak_mb;
}

double machine_cpu(void) {
    double t[8] = {0}; /* user nice system idle iowait irq softirq steal */
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return 0;
    if (fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5],
               &t[6], &t[7]) != 8)
        t[0] = 0;
    fclose(f);
    return (t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
}

double process_cpu(int pid) {
    char path[64], line[1024];
    double user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = pid > 0 ? fopen(path, "r") : NULL;
    if (!f) return 0;
    char *end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL; /* of the name */
    if (end && sscanf(end + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf", &user,
                      &kernel) != 2)
        user = kernel = 0;
    fclose(f);
    return (user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

void process_stop(process *p) {
    int status;
    if (p->in >= 0) close(p->in);
    if (p->out >= 0) close(p->out);
    if (p->pid > 0) {
        for (int i = 0; i < 200; i++) { /* two seconds to end by itself */
            if (waitpid(p->pid, &status, WNOHANG) != 0) break;
            if (i == 199) kill(p->pid, SIGKILL);
            usleep(10000);
        }
        waitpid(p->pid, &status, 0);
    }
    *p = (process){.pid = -1, .in = -1, .out = -1};
}

bool process_run(char *const argv[], char *const environment[], const char *log, double *seconds,
                 double *peak_mb) {
    int pid, status = 0;
    struct rusage used;
    double begin = wall_clock();
    if (!spawn(&pid, argv, environment, log, -1, -1)) return false;
    while (wait4(pid, &status, 0, &used) < 0)
        if (errno != EINTR) return false;
    *seconds = wall_clock() - begin;
    if (peak_mb) *peak_mb = (double)used.ru_maxrss / 1024;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
