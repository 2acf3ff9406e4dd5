/* Evaluates packed ensembles of regression trees (packed_trees.py says what the bytes mean).
 *
 * A row goes down GROUP trees at a time: the loads of different trees do not wait for each other, which is what counts
 * when a model has not been asked for a while and none of it is in the processor's caches. The leaves are then added in
 * the order of the trees, in single precision, beginning with the base score: the same operations in the same order as
 * XGBoost's, so the sum is the same to the last bit.
 *
 * Nothing is checked here: PackedTrees has made sure that every child lies behind its parent and inside the file, and
 * that every feature is one of the row's.
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

/* raw[i] = prediction of the i-th of `count` rows; a row holds as many doubles as the ensemble has features. */
void predict_packed(const char *packed, const double *rows, size_t count, float *raw) {
    Header header;
    memcpy(&header, packed, sizeof header);
    const uint32_t *roots = (const uint32_t *)(packed + sizeof header);
    const Node *nodes = (const Node *)(packed + sizeof header + ((header.trees + 1) & ~1u) * sizeof *roots);
    for (size_t each = 0; each < count; each++) {
        const double *row = rows + each * header.features;
        float sum = header.base_score;
        for (uint32_t first = 0; first < header.trees; first += GROUP) {
            uint32_t at[GROUP], width = header.trees - first < GROUP ? header.trees - first : GROUP;
            for (uint32_t tree = 0; tree < width; tree++) at[tree] = roots[first + tree];
            for (uint32_t level = 0; level < header.depth; level++) {
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
        raw[each] = header.link ? expf(sum) : sum;
    }
}
