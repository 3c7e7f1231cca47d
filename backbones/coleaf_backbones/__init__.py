"""Networks that ship with coleaf_framework, written as a third party would write them."""
