/* For `live`: the nodes in the order in which they are met, and their texts. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_quick.h"

/* A row of numbers that grows. */
typedef struct {
    long long *at;
    Py_ssize_t length, room;
} Row;

static int
push(Row *row, long long value)
{
    if (row->length == row->room) {
        Py_ssize_t room = row->room ? 2 * row->room : 1024;
        long long *at = PyMem_Realloc(row->at, (size_t)room * sizeof(long long));
        if (at == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        row->at = at;
        row->room = room;
    }
    row->at[row->length++] = value;
    return 0;
}

static PyObject *
row_bytes(const Row *row)
{
    return PyBytes_FromStringAndSize((const char *)row->at, row->length * (Py_ssize_t)sizeof(long long));
}

/* What is said of a node under a renaming, which is the node itself without one; NULL if it is none. */
static PyObject *
under(PyObject *node, Py_ssize_t view)
{
    if (view >= 0 && PyTuple_Check(node) && PyTuple_GET_SIZE(node) > 3) {
        PyObject *views = PyTuple_GET_ITEM(node, 3);
        node = PyTuple_Check(views) && view < PyTuple_GET_SIZE(views) ? PyTuple_GET_ITEM(views, view) : NULL;
    } else if (view >= 0)
        node = NULL;
    return node != NULL && PyTuple_Check(node) && PyTuple_GET_SIZE(node) > 1 ? node : NULL;
}

/* The text of a node, which is a tuple with the number of it first; -1 with an exception if it is none. */
static long long
text_of(PyObject *known, PyObject *number, Py_ssize_t view, Py_ssize_t *index)
{
    PyObject *node = NULL;

    *index = PyLong_AsSsize_t(number);
    if (*index >= 0 && *index < PyList_GET_SIZE(known))
        node = under(PyList_GET_ITEM(known, *index), view);
    if (node == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_LookupError, "a node that is not known");
        return -1;
    }
    return PyLong_AsLongLong(PyTuple_GET_ITEM(node, 0));
}

PyDoc_STRVAR(texts_doc,
"texts(known, numbers, behind, view) -> bytes\n\n"
"The texts of these nodes under a renaming (-1: without one), then of those of each list in `behind`, eight bytes each.\n"
"Behind one that an earlier list of "
"`behind` has too come -2, the number of that list, and the place in it.");

static PyObject *
texts(PyObject *module, PyObject *args)
{
    PyObject *known, *numbers, *behind, *result = NULL;
    Row out = {NULL, 0, 0};
    long long *first = NULL;
    Py_ssize_t index, lists, view;

    if (!PyArg_ParseTuple(args, "O!O!O!n", &PyList_Type, &known, &PyList_Type, &numbers, &PyList_Type, &behind, &view))
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(numbers); i++) {
        long long text = text_of(known, PyList_GET_ITEM(numbers, i), view, &index);
        if ((text == -1 && PyErr_Occurred()) || push(&out, text) < 0)
            goto out;
    }
    /* By number: 0, or the list that had it first and the place there. */
    first = PyMem_Calloc((size_t)PyList_GET_SIZE(known) + 1, sizeof(long long));
    if (first == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    lists = PyList_GET_SIZE(behind);
    for (Py_ssize_t list = 0; list < lists; list++) {
        PyObject *nodes = PyList_GET_ITEM(behind, list);
        if (!PyList_CheckExact(nodes)) {
            PyErr_SetString(PyExc_TypeError, "behind is a list of lists");
            goto out;
        }
        for (Py_ssize_t at = 0; at < PyList_GET_SIZE(nodes); at++) {
            long long text = text_of(known, PyList_GET_ITEM(nodes, at), view, &index);
            if ((text == -1 && PyErr_Occurred()) || push(&out, text) < 0)
                goto out;
            if (first[index] == 0)
                first[index] = 1 + list + lists * at;
            else if ((first[index] - 1) % lists != list &&
                     (push(&out, -2) < 0 || push(&out, (first[index] - 1) % lists) < 0 ||
                      push(&out, (first[index] - 1) / lists) < 0))
                goto out;
        }
    }
    result = row_bytes(&out);
out:
    PyMem_Free(first);
    PyMem_Free(out.at);
    return result;
}

/* The place of a number in one of two dicts; -1: in none of them, -2 with an exception. */
static long long
place_of(PyObject *number, PyObject *before, PyObject *place)
{
    PyObject *found = PyDict_GetItemWithError(before, number);

    if (found == NULL && !PyErr_Occurred())
        found = PyDict_GetItemWithError(place, number);
    if (found == NULL)
        return PyErr_Occurred() ? -2 : -1;
    return PyLong_AsLongLong(found);
}

PyDoc_STRVAR(meet_doc,
"meet(start, before, place, known, work_out, view) -> (list of int, bytes)\n\n"
"The nodes behind `start`, depth first, that are not in `before`, put into `place`; and how they hang together: for\n"
"each reference the place that it leads to, -1 for a new one, eight bytes each. `work_out` is called with the number\n"
"of a node that is not known.");

static PyObject *
meet(PyObject *module, PyObject *args)
{
    PyObject *start, *before, *place, *known, *work_out, *stack, *nodes, *result = NULL;
    Row shape = {NULL, 0, 0};
    Py_ssize_t base, view;

    if (!PyArg_ParseTuple(args, "O!O!O!O!On", &PyList_Type, &start, &PyDict_Type, &before, &PyDict_Type, &place,
                          &PyList_Type, &known, &work_out, &view))
        return NULL;
    base = PyDict_GET_SIZE(before);
    nodes = PyList_New(0);
    stack = PyList_GetSlice(start, 0, PyList_GET_SIZE(start));
    if (nodes == NULL || stack == NULL || PyList_Reverse(stack) < 0)
        goto out;
    while (PyList_GET_SIZE(stack) > 0) {
        Py_ssize_t top = PyList_GET_SIZE(stack) - 1;
        PyObject *number = Py_NewRef(PyList_GET_ITEM(stack, top)), *value, *node, *refers;
        Py_ssize_t index;
        long long at;

        if (PyList_SetSlice(stack, top, top + 1, NULL) < 0) {
            Py_DECREF(number);
            goto out;
        }
        at = place_of(number, before, place);
        if (at != -1) {
            Py_DECREF(number);
            if (at == -2 || push(&shape, at) < 0)
                goto out;
            continue;
        }
        value = PyLong_FromSsize_t(base + PyList_GET_SIZE(nodes));
        if (value == NULL || PyDict_SetItem(place, number, value) < 0 || PyList_Append(nodes, number) < 0 ||
            push(&shape, -1) < 0) {
            Py_XDECREF(value);
            Py_DECREF(number);
            goto out;
        }
        Py_DECREF(value);
        index = PyLong_AsSsize_t(number);
        if (index < 0 || index >= PyList_GET_SIZE(known)) {
            PyErr_SetString(PyExc_LookupError, "a number of no object");
            Py_DECREF(number);
            goto out;
        }
        node = Py_NewRef(PyList_GET_ITEM(known, index));
        if (node == Py_None)
            Py_SETREF(node, PyObject_CallOneArg(work_out, number));
        Py_DECREF(number);
        if (node == NULL)
            goto out;
        refers = under(node, view);
        if (refers != NULL)
            refers = PyTuple_GET_ITEM(refers, 1);
        if (refers == NULL || !PyTuple_CheckExact(refers)) {
            PyErr_SetString(PyExc_TypeError, "a node is a text and a tuple of references");
            Py_DECREF(node);
            goto out;
        }
        for (Py_ssize_t i = PyTuple_GET_SIZE(refers) - 1; i >= 0; i--)
            if (PyList_Append(stack, PyTuple_GET_ITEM(refers, i)) < 0) {
                Py_DECREF(node);
                goto out;
            }
        Py_DECREF(node);
    }
    result = Py_BuildValue("(ON)", nodes, row_bytes(&shape));
out:
    Py_XDECREF(nodes);
    Py_XDECREF(stack);
    PyMem_Free(shape.at);
    return result;
}

PyMethodDef quick_graph[] = {
    {"meet", meet, METH_VARARGS, meet_doc},
    {"texts", texts, METH_VARARGS, texts_doc},
    {NULL, NULL, 0, NULL},
};
