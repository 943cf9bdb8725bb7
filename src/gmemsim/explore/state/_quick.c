/*
 * What `heap`, `nodes`, `live` and `coroutines` do at every step of a search, without an interpreter in between: see
 * `quick`. The functions stand in the other files of this name.
 *
 * Nothing here is needed, and nothing here decides anything: `changed` names objects that have to be looked at, by
 * identity, and `heap` compares them. Only what the C interface of CPython 3.11 to 3.13 offers is used, under the GIL.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_quick.h"

/* Digest of all files, given by `compile`, so that a module compiled from another text is not taken for it. */
#ifndef SOURCE
#define SOURCE ""
#endif

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_quick", "See gmemsim.explore.state.quick.", -1, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__quick(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyMethodDef *parts[] = {quick_heap, quick_graph, quick_words, quick_frames};

    for (size_t i = 0; module != NULL && i < sizeof(parts) / sizeof(parts[0]); i++)
        if (PyModule_AddFunctions(module, parts[i]) < 0)
            Py_CLEAR(module);
    if (module != NULL && PyModule_AddStringConstant(module, "SOURCE", SOURCE) < 0)
        Py_CLEAR(module);
    return module;
}
