"""Metrics of a video, and pictures of them: does it show the person, does it move, and does it fit its prompt?"""
