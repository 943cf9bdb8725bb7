/* For `live`: the nodes in the order in which they are met, and their texts. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "_quick.h"

/* A row of numbers that grows. */
typedef struct {
    int *at;
    Py_ssize_t length, room;
} Row;

static int
make_room(Row *row, Py_ssize_t more)
{
    Py_ssize_t room = row->room ? row->room : 512;
    int *at;

    while (room < row->length + more)
        room *= 2;
    if (room == row->room)
        return 0;
    at = PyMem_Realloc(row->at, (size_t)room * sizeof(int));
    if (at == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    row->at = at;
    row->room = room;
    return 0;
}

static int
push(Row *row, int value)
{
    if (row->length == row->room && make_room(row, 1) < 0)
        return -1;
    row->at[row->length++] = value;
    return 0;
}

static PyObject *
row_bytes(const Row *row)
{
    return PyBytes_FromStringAndSize((const char *)row->at, row->length * (Py_ssize_t)sizeof(int));
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

static PyObject *
node_at(PyObject *known, Py_ssize_t index, Py_ssize_t view)
{
    PyObject *node = NULL;

    if (index >= 0 && index < PyList_GET_SIZE(known))
        node = under(PyList_GET_ITEM(known, index), view);
    if (node == NULL)
        PyErr_SetString(PyExc_LookupError, "a node that is not known");
    return node;
}

PyDoc_STRVAR(texts_doc,
"texts(known, numbers, behind, view) -> bytes\n\n"
"The texts of these nodes under a renaming (-1: without one), then of those of each row in `behind`, eight bytes each.\n"
"Behind one that an earlier row of `behind` has too come -2, the number of that row, and the place in it. A row has four\n"
"bytes a number.");

static PyObject *
texts(PyObject *module, PyObject *args)
{
    PyObject *known, *numbers, *behind, *result = NULL;
    long long *out = NULL;
    int *first = NULL;
    Py_ssize_t lists, view, all, length = 0;

    if (!PyArg_ParseTuple(args, "O!O!O!n", &PyList_Type, &known, &PyBytes_Type, &numbers, &PyList_Type, &behind, &view))
        return NULL;
    lists = PyList_GET_SIZE(behind);
    all = PyBytes_GET_SIZE(numbers) / (Py_ssize_t)sizeof(int);
    for (Py_ssize_t list = 0; list < lists; list++) {
        if (!PyBytes_CheckExact(PyList_GET_ITEM(behind, list))) {
            PyErr_SetString(PyExc_TypeError, "behind is a list of rows");
            return NULL;
        }
        all += 4 * (PyBytes_GET_SIZE(PyList_GET_ITEM(behind, list)) / (Py_ssize_t)sizeof(int));
    }
    out = PyMem_Malloc((size_t)all * sizeof(long long) + 1);
    /* By number: 0, or the row that had it first and the place there. */
    first = PyMem_Calloc((size_t)PyList_GET_SIZE(known) + 1, sizeof(int));
    if (out == NULL || first == NULL) {
        PyErr_NoMemory();
        goto out;
    }
    for (Py_ssize_t list = -1; list < lists; list++) {
        PyObject *nodes = list < 0 ? numbers : PyList_GET_ITEM(behind, list);
        const int *row = (const int *)PyBytes_AS_STRING(nodes);
        Py_ssize_t count = PyBytes_GET_SIZE(nodes) / (Py_ssize_t)sizeof(int);

        for (Py_ssize_t at = 0; at < count; at++) {
            PyObject *node = node_at(known, row[at], view);

            if (node == NULL)
                goto out;
            out[length++] = PyLong_AsLongLong(PyTuple_GET_ITEM(node, 0));
            if (out[length - 1] == -1 && PyErr_Occurred())
                goto out;
            if (list < 0)
                continue;
            if (first[row[at]] == 0)
                first[row[at]] = (int)(1 + list + lists * at);
            else if ((first[row[at]] - 1) % lists != list) {
                out[length++] = -2;
                out[length++] = (first[row[at]] - 1) % lists;
                out[length++] = (first[row[at]] - 1) / lists;
            }
        }
    }
    result = PyBytes_FromStringAndSize((const char *)out, length * (Py_ssize_t)sizeof(long long));
out:
    PyMem_Free(first);
    PyMem_Free(out);
    return result;
}

/* Put the numbers of a sequence on a stack, the first on top. */
static int
push_reversed(Row *stack, PyObject *numbers)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(numbers);
    PyObject **items = PySequence_Fast_ITEMS(numbers);

    if (make_room(stack, count) < 0)
        return -1;
    for (Py_ssize_t i = count - 1; i >= 0; i--) {
        long number = PyLong_AsLong(items[i]);

        if (number < 0 || number > INT_MAX - 2) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_LookupError, "a number of no object");
            return -1;
        }
        stack->at[stack->length++] = (int)number;
    }
    return 0;
}

PyDoc_STRVAR(meet_doc,
"meet(start, before, known, work_out, view) -> (bytes, bytes, bytes or None)\n\n"
"The nodes behind `start`, depth first, that are not in `before`; how they hang together: for each reference the place\n"
"that it leads to, -1 for a new one; and what to give as `before` to have these left out, if it was None. Rows of four\n"
"bytes a number. `work_out` is called with the number of a node that is not known.");

static PyObject *
meet(PyObject *module, PyObject *args)
{
    PyObject *start, *before, *known, *work_out, *result = NULL;
    Row shape = {NULL, 0, 0}, stack = {NULL, 0, 0}, nodes = {NULL, 0, 0}, place = {NULL, 0, 0};
    const int *earlier = NULL;
    Py_ssize_t view, earlier_size = 0;
    int base = 0;

    if (!PyArg_ParseTuple(args, "O!OO!On", &PyList_Type, &start, &before, &PyList_Type, &known, &work_out, &view))
        return NULL;
    if (PyBytes_CheckExact(before)) {
        /* How many there are, then one more than the place of each number; 0: none. */
        earlier = (const int *)PyBytes_AS_STRING(before);
        earlier_size = PyBytes_GET_SIZE(before) / (Py_ssize_t)sizeof(int) - 1;
        base = earlier_size >= 0 ? *earlier++ : 0;
    }
    if (push_reversed(&stack, start) < 0 || push(&place, 0) < 0)
        goto out;
    while (stack.length > 0) {
        int number = stack.at[--stack.length];
        PyObject *node, *refers;
        int at = 0;

        if (number < earlier_size)
            at = earlier[number];
        if (at == 0 && number + 1 < place.length)
            at = place.at[number + 1];
        if (push(&shape, at - 1) < 0)
            goto out;
        if (at != 0)
            continue;
        if (number >= PyList_GET_SIZE(known)) {
            PyErr_SetString(PyExc_LookupError, "a number of no object");
            goto out;
        }
        while (place.length < number + 2)
            if (push(&place, 0) < 0)
                goto out;
        place.at[number + 1] = base + (int)nodes.length + 1;
        if (push(&nodes, number) < 0)
            goto out;
        node = Py_NewRef(PyList_GET_ITEM(known, number));
        if (node == Py_None)
            Py_SETREF(node, PyObject_CallFunction(work_out, "i", number));
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
        if (push_reversed(&stack, refers) < 0) {
            Py_DECREF(node);
            goto out;
        }
        Py_DECREF(node);
    }
    place.at[0] = (int)nodes.length;
    result = Py_BuildValue("(NNN)", row_bytes(&nodes), row_bytes(&shape),
                           before == Py_None ? row_bytes(&place) : Py_NewRef(Py_None));
out:
    PyMem_Free(shape.at);
    PyMem_Free(stack.at);
    PyMem_Free(nodes.at);
    PyMem_Free(place.at);
    return result;
}

PyMethodDef quick_graph[] = {
    {"meet", meet, METH_VARARGS, meet_doc},
    {"texts", texts, METH_VARARGS, texts_doc},
    {NULL, NULL, 0, NULL},
};
