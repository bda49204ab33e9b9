/* The kernels of one instruction set, as a table. The matrix products are not here: see linear.c.
 */
#include "backend/cpu/kernels/kernel.h"

#define SLOT(name) .name = KFN(name),

const cpu_kernels KFN(kernels) = {
    SLOT(embedding_forward) SLOT(embedding_backward) SLOT(activation_forward)
        SLOT(activation_backward) SLOT(layer_norm_forward) SLOT(layer_norm_backward)
            SLOT(rms_norm_forward) SLOT(rms_norm_backward) SLOT(attention_forward)
                SLOT(attention_backward) SLOT(rope) SLOT(dropout) SLOT(axpy) SLOT(mul)
                    SLOT(sum_rows) SLOT(sum_all) SLOT(glu_forward) SLOT(glu_backward)
                        SLOT(gather_rows) SLOT(scatter_add_rows) SLOT(mean_pool_forward)
                            SLOT(mean_pool_backward) SLOT(log_softmax_forward)
                                SLOT(log_softmax_backward) SLOT(logsumexp_forward)
                                    SLOT(logsumexp_backward) SLOT(cross_entropy_forward)
                                        SLOT(cross_entropy_backward) SLOT(bce_forward)
                                            SLOT(bce_backward) SLOT(kl_forward) SLOT(kl_backward)
                                                SLOT(cosine_forward) SLOT(cosine_backward)
                                                    SLOT(lstm_forward) SLOT(lstm_backward)
                                                        SLOT(sum_squares) SLOT(adamw)};
