/* Evaluates packed ensembles of trees (packed_trees.py says what the bytes mean).
 *
 * A row goes down GROUP trees at a time: the loads of different trees do not wait for each other, which is what counts
 * when a model has not been asked for a while and none of it is in the processor's caches. The leaves are then added in
 * the order of the trees, in single precision, beginning with the base score: the same operations in the same order as
 * XGBoost's, so the sum is the same to the last bit.
 *
 * Nothing is checked here: tree_check.py has made sure that every child lies behind its parent and inside the file, that
 * every feature is one of the row's, and that the groups have as many trees together as there are.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { GROUP = 16 };

typedef struct {
    char magic[8];
    uint32_t trees, nodes, features, depth;
    float base_score;
    uint32_t link;
} Header;

/* Of a leaf, value is its weight and children is 0. Of a split, value is the threshold, and its left child lies
 * `children` nodes further on, the right one behind that. The highest bit of feature says that a missing value goes left. */
typedef struct {
    float value;
    uint16_t feature, children;
} Node;

/* Of a classification; behind it stand a base score and a number of trees for each group. */
typedef struct {
    char magic[8];
    uint32_t trees, nodes, features, depth, groups, link;
} ClassHeader;

/* sum, and the leaves that a row reaches in `count` trees; none is deeper than `depth`. */
static float add_leaves(float sum, const Node *nodes, const uint32_t *roots, uint32_t count, uint32_t depth,
                        const double *row) {
    for (uint32_t first = 0; first < count; first += GROUP) {
        uint32_t at[GROUP], width = count - first < GROUP ? count - first : GROUP;
        for (uint32_t tree = 0; tree < width; tree++) at[tree] = roots[first + tree];
        for (uint32_t level = 0; level < depth; level++) {
            uint32_t moved = 0;
            for (uint32_t tree = 0; tree < width; tree++) {
                Node node = nodes[at[tree]];
                float value = (float)row[node.feature & 0x7fff];
                uint32_t right = value != value ? !(node.feature >> 15) : !(value < node.value);
                uint32_t step = node.children ? node.children + right : 0;
                at[tree] += step;
                moved |= step;
            }
            if (!moved) break;
        }
        for (uint32_t tree = 0; tree < width; tree++) sum += nodes[at[tree]].value;
    }
    return sum;
}

static void predict_classes(const char *packed, const double *rows, size_t count, float *raw) {
    ClassHeader header;
    memcpy(&header, packed, sizeof header);
    const float *scores = (const float *)(packed + sizeof header);
    const uint32_t *sizes = (const uint32_t *)(scores + header.groups);
    const uint32_t *roots = sizes + header.groups;
    const Node *nodes = (const Node *)(roots + ((header.trees + 1) & ~1u));
    for (size_t each = 0; each < count; each++) {
        float *out = raw + each * header.groups, largest = -INFINITY;
        const uint32_t *next = roots;
        for (uint32_t group = 0; group < header.groups; group++) {
            out[group] = add_leaves(scores[group], nodes, next, sizes[group], header.depth, rows + each * header.features);
            next += sizes[group];
            if (out[group] > largest) largest = out[group];
        }
        if (header.link == 2) {
            float exponent = -out[0] < 88.7f ? -out[0] : 88.7f;
            out[0] = 1.0f / (expf(exponent) + 1.0f + 1e-16f);
            continue;
        }
        double sum = 0;
        for (uint32_t group = 0; group < header.groups; group++) {
            out[group] = expf(out[group] - largest);
            sum += out[group];
        }
        for (uint32_t group = 0; group < header.groups; group++) out[group] /= (float)sum;
    }
}

/* raw[i] = prediction of the i-th of `count` rows; a row holds as many doubles as the ensemble has features. Of a
 * classification raw holds a probability for each group of a row, one row after the other. */
void predict_packed(const char *packed, const double *rows, size_t count, float *raw) {
    if (packed[7] == '2') {
        predict_classes(packed, rows, count, raw);
        return;
    }
    Header header;
    memcpy(&header, packed, sizeof header);
    const uint32_t *roots = (const uint32_t *)(packed + sizeof header);
    const Node *nodes = (const Node *)(packed + sizeof header + ((header.trees + 1) & ~1u) * sizeof *roots);
    for (size_t each = 0; each < count; each++) {
        const double *row = rows + each * header.features;
        float sum = add_leaves(header.base_score, nodes, roots, header.trees, header.depth, row);
        raw[each] = header.link ? expf(sum) : sum;
    }
}
