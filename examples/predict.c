/*
 * Labels texts with a trained run, through the C library. From the repository root:
 *
 *     cc -Iinclude examples/predict.c -o build/predict -Lbuild -lcloze -Wl,-rpath,"$PWD/build"
 *     build/predict out 国足今晚迎战韩国队 新车续航超过七百公里
 */
#include <cloze.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    cloze_error error = {CLOZE_ERR_USAGE, "usage: predict RUN_DIR TEXT..."};
    cloze_predictor *run = NULL;
    cloze_status status = CLOZE_ERR_USAGE;
    if (argc > 2) status = cloze_predictor_open(argv[1], NULL, &run, &error);
    int n_labels = cloze_predictor_label_count(run);
    float *p = calloc((size_t)n_labels + 1, sizeof *p); /* probabilities of one text */
    for (int i = 2; p && i < argc && status == CLOZE_OK; i++) {
        const char *text = argv[i];
        status = cloze_predictor_run(run, &text, NULL, 1, p, &error); /* or many at once */
        if (status != CLOZE_OK) break;
        int best = 0;
        for (int l = 1; l < n_labels; l++)
            if (p[l] > p[best]) best = l;
        printf("%s\t%s\t%.3f\n", text, cloze_predictor_label(run, best), p[best]);
    }
    if (status != CLOZE_OK) fprintf(stderr, "%s\n", error.message);
    free(p);
    cloze_predictor_close(run);
    return status;
}
