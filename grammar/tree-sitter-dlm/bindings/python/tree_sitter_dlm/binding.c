/*
 * Hands the generated parser to Python as the capsule that `tree_sitter.Language`
 * takes. Built against the limited API, so one wheel serves every Python from 3.11.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct TSLanguage TSLanguage;

const TSLanguage *tree_sitter_dlm(void);

static PyObject *language(PyObject *module, PyObject *unused) {
  (void)module;
  (void)unused;
  return PyCapsule_New((void *)tree_sitter_dlm(), "tree_sitter.Language", NULL);
}

static PyMethodDef methods[] = {
    {"language", language, METH_NOARGS, "The grammar, for `tree_sitter.Language`."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_binding",
    .m_doc = NULL,
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__binding(void) { return PyModuleDef_Init(&definition); }
