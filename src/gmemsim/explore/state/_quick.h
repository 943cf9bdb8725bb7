/* The parts of `_quick`, each a table of functions. */

#ifndef GMEMSIM_QUICK_H
#define GMEMSIM_QUICK_H

extern PyMethodDef quick_heap[], quick_graph[], quick_words[], quick_frames[];

#endif
