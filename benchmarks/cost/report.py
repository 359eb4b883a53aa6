def write_plot(rows): pass
def write_documents(rows): pass
